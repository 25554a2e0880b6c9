// Package offline maps files of vendor records to events, without a cluster.
package offline

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"millrace/normalizer/internal/mapping"
	"millrace/pkg/audit"
	"millrace/pkg/ocsf"
	"millrace/pkg/wire"
)

// Mapper maps one record and explains what it did: *mapping.Mapper. Its errors are *mapping.Refusal.
type Mapper interface {
	Map(dst []mapping.Event, rec audit.Record, digest uint64) ([]mapping.Event, error)
	Explain(rec audit.Record, digest uint64) (mapping.Explanation, error)
}

// Options are the command's flags.
type Options struct {
	Validate bool           // judge each event by the schema
	Explain  bool           // instead of the event say which rule chose it and where its attributes came from
	Summary  bool           // instead of the events count them: one line a file
	Tenant   audit.TenantID // "" = the record's OrganizationId
}

// unknownTenant is the tenant of a record that names none.
const unknownTenant audit.TenantID = "00000000-0000-0000-0000-000000000000"

// Run maps any number of files to one output.
type Run struct {
	mapper   Mapper
	opts     Options
	out      *bufio.Writer
	errs     io.Writer
	failed   bool
	events   []mapping.Event
	digester audit.Digester
	counts   counts // of the file in hand
}

// counts say how well a file could be mapped.
type counts struct {
	records, refused, events, invalid int
	specific                          int // events in another class than API Activity
	active                            int // events with an activity that the schema names: neither 0 nor 99
	others                            int // events with activity 99
}

// String is the line of a summary, behind the file's name.
func (c counts) String() string {
	share := func(n int) float64 { return 100 * float64(n) / float64(max(c.events, 1)) }
	return fmt.Sprintf("%d records, %d refused, %d events, %d invalid, %.1f %% in a specific class, %.1f %% with a named activity, %.1f %% with activity 99",
		c.records, c.refused, c.events, c.invalid, share(c.specific), share(c.active), share(c.others))
}

// New makes a run that writes events to out and a line for each refused record to errs.
func New(mapper Mapper, opts Options, out, errs io.Writer) *Run {
	return &Run{mapper: mapper, opts: opts, out: bufio.NewWriterSize(out, 64<<10), errs: errs}
}

// Failed reports whether a record was refused or an event found invalid.
func (r *Run) Failed() bool { return r.failed }

// Flush writes what is still buffered.
func (r *Run) Flush() error { return r.out.Flush() }

// Map reads one file to its end. Records that are refused are reported and do not end it; its error is one of reading or writing.
func (r *Run) Map(ctx context.Context, name string, in io.Reader) error {
	r.counts = counts{}
	err := read(in, func(at place, raw []byte, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		r.counts.records++
		if err != nil {
			return r.refuse(name, at, string(wire.ReasonInvalidJSON)+": "+err.Error())
		}
		return r.record(name, at, raw)
	})
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if r.opts.Summary {
		_, err = fmt.Fprintf(r.out, "%s: %s\n", name, r.counts)
	}
	return err
}

func (r *Run) record(name string, at place, raw []byte) error {
	env, digest, err := r.digester.Read(raw)
	if err != nil {
		return r.refuse(name, at, string(wire.ReasonInvalidJSON)+": "+err.Error())
	}
	rec := audit.Record{Raw: raw, Provenance: audit.Provenance{Tenant: r.tenant(env), Source: audit.SourceImport, Domain: wire.DomainOf(env.RecordType)}}
	if r.opts.Explain {
		err = r.explain(name, at, rec, digest)
	} else {
		r.events, err = r.mapper.Map(r.events[:0], rec, digest)
	}
	var refusal *mapping.Refusal
	switch {
	case errors.As(err, &refusal):
		return r.refuse(name, at, refusal.Reason+": "+refusal.Detail)
	case err != nil:
		return r.refuse(name, at, string(wire.ReasonMappingFailed)+": "+err.Error())
	case r.opts.Explain:
		return nil
	}
	return r.write(name, at)
}

// write writes the events of a record, or counts them.
func (r *Run) write(name string, at place) error {
	for i := range r.events {
		r.count(r.events[i])
		if r.opts.Validate {
			if err := r.validate(name, at, r.events[i].Value); err != nil {
				return err
			}
		}
		if r.opts.Summary {
			continue
		}
		if _, err := r.out.Write(r.events[i].Value); err != nil {
			return err
		}
		if err := r.out.WriteByte('\n'); err != nil {
			return err
		}
	}
	return nil
}

func (r *Run) tenant(env audit.Envelope) audit.TenantID {
	if r.opts.Tenant != "" {
		return r.opts.Tenant
	}
	if id, err := audit.ParseTenantID(env.OrganizationID); err == nil {
		return id
	}
	return unknownTenant
}

// explain writes how a record became its first event.
func (r *Run) explain(name string, at place, rec audit.Record, digest uint64) error {
	e, err := r.mapper.Explain(rec, digest)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(r.out, "record    %s:%s\n", name, at); err != nil {
		return err
	}
	if _, err := e.WriteTo(r.out); err != nil {
		return err
	}
	return r.out.WriteByte('\n')
}

func (r *Run) count(e mapping.Event) {
	r.counts.events++
	if e.ClassUID != int(ocsf.ClassAPIActivity) {
		r.counts.specific++
	}
	switch e.ActivityID {
	case 0:
	case ocsf.Other:
		r.counts.others++
	default:
		r.counts.active++
	}
}

// refuse reports a record of which no event is made.
func (r *Run) refuse(name string, at place, why string) error {
	r.counts.refused++
	return r.report(name, at, why)
}

// report writes a line about a record.
func (r *Run) report(name string, at place, what string) error {
	r.failed = true
	_, err := fmt.Fprintf(r.errs, "%s:%s: %s\n", name, at, what)
	return err
}
