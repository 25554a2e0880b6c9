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
	err := read(in, func(at place, raw []byte, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return r.report(name, at, string(wire.ReasonInvalidJSON)+": "+err.Error())
		}
		return r.record(name, at, raw)
	})
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func (r *Run) record(name string, at place, raw []byte) error {
	env, digest, err := r.digester.Read(raw)
	if err != nil {
		return r.report(name, at, string(wire.ReasonInvalidJSON)+": "+err.Error())
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
		return r.report(name, at, refusal.Reason+": "+refusal.Detail)
	case err != nil:
		return r.report(name, at, string(wire.ReasonMappingFailed)+": "+err.Error())
	case r.opts.Explain:
		return nil
	}
	return r.write(name, at)
}

// write writes the events of a record.
func (r *Run) write(name string, at place) error {
	for i := range r.events {
		if r.opts.Validate {
			if err := r.validate(name, at, r.events[i].Value); err != nil {
				return err
			}
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

// report writes a line about a record.
func (r *Run) report(name string, at place, what string) error {
	r.failed = true
	_, err := fmt.Fprintf(r.errs, "%s:%s: %s\n", name, at, what)
	return err
}
