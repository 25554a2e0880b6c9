package app

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"millrace/ingester/internal/verify"
	"millrace/internal/service"
	"millrace/pkg/audit"
)

// VerifyOptions says what to verify.
type VerifyOptions struct {
	Tenant   string                // directory id
	From, To time.Time             // of blob creation; zero = 7 days ago, and now
	Progress func(verify.Progress) // nil = not wanted
}

// VerifyReport is what Verify found.
type VerifyReport = verify.Report

// Verify proves from the topics alone that what was listed of a tenant is on the raw topics with the right bytes. It asks Microsoft nothing
// and writes nothing.
func Verify(ctx context.Context, cfg Config, rt service.Runtime, opts VerifyOptions) (*VerifyReport, error) {
	id, err := audit.ParseTenantID(opts.Tenant)
	if err != nil {
		return nil, service.Usagef("verify: -tenant: %w", err)
	}
	now := time.Now()
	if opts.From.IsZero() {
		opts.From = now.Add(-7 * 24 * time.Hour)
	}
	if end := opts.To; !end.IsZero() && !opts.From.Before(end) {
		return nil, service.Usagef("verify: -from %s is not before -to %s", opts.From.Format(time.RFC3339), end.Format(time.RFC3339))
	}
	client, err := cfg.Kafka.Client("verify", rt.Log, nil)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	if err := ping(ctx, client); err != nil {
		return nil, err
	}
	return verify.Run(ctx, client, verify.Config{
		Names: cfg.Kafka.Names(), Control: cfg.Kafka.ControlPartitions, Tenant: id, From: opts.From, To: opts.To, Now: now, Progress: opts.Progress,
	})
}

// verifyCommand is `ingester verify`.
func verifyCommand() service.Command[Config] {
	return service.Command[Config]{
		Synopsis: "prove from the topics alone that a tenant's blobs of a range are on raw with the right bytes",
		Help: "Reads checkpoints, ledger, raw and dead-letter topics; it asks Microsoft nothing and changes nothing, and may run beside everything else.\n" +
			"The range is of blob creation. With -to each stream has to be through with the range. A gap counts until `ingester ack-gap` has acknowledged it.\n" +
			"Exit code 0 only if every blob of the range is complete, 1 if not.",
		Validate: func(c Config) error { return c.Kafka.Validate() },
		Setup: func(fs *flag.FlagSet) service.Action[Config] {
			opts := VerifyOptions{}
			fs.StringVar(&opts.Tenant, "tenant", "", "directory `id`")
			fs.Func("from", "begin of the range, `time` as 2026-01-31T00:00:00Z (default 7 days ago)", moment(&opts.From))
			fs.Func("to", "end of the range, `time` (default now)", moment(&opts.To))
			asJSON := fs.Bool("json", false, "one JSON object")
			quiet := fs.Bool("quiet", false, "print no progress")
			return func(ctx context.Context, call service.Call[Config]) error {
				if !*quiet {
					opts.Progress = verifyProgress(call.Err)
				}
				report, err := Verify(ctx, call.Config, call.Runtime, opts)
				if err != nil {
					return err
				}
				if err := printReport(call.Out, report, *asJSON); err != nil {
					return err
				}
				if !report.Complete {
					return service.ErrReported
				}
				return nil
			}
		},
	}
}

// moment parses a time for a flag.
func moment(into *time.Time) func(string) error {
	return func(s string) error {
		t, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t, err = time.Parse(time.DateOnly, s)
		}
		if err != nil {
			return fmt.Errorf("%q is no time: write 2026-01-31T00:00:00Z or 2026-01-31", s)
		}
		*into = t
		return nil
	}
}

// verifyProgress writes a line every two seconds.
func verifyProgress(w io.Writer) func(verify.Progress) {
	last := time.Now()
	return func(p verify.Progress) {
		if time.Since(last) < 2*time.Second || p.Total == 0 {
			return
		}
		last = time.Now()
		_, _ = fmt.Fprintf(w, "%d %% of %d offsets read, now %s\n", p.Read*100/p.Total, p.Total, p.Topic) // progress is a courtesy
	}
}

func printReport(w io.Writer, r *VerifyReport, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(r)
	}
	tw := tabwriter.NewWriter(w, 2, 8, 2, ' ', 0)
	_, _ = fmt.Fprintln(tw, "SOURCE\tDONE UNTIL\tBLOBS\tRECORDS\tBYTES\tDEAD LETTERS\tPROVED\tCOUNTED\tNOT HELD\tGAPS") // errors surface at Flush
	blobs, records := 0, 0
	for _, s := range r.Streams {
		done := "-"
		if !s.DoneUntil.IsZero() {
			done = s.DoneUntil.Format(time.RFC3339)
		}
		_, _ = fmt.Fprintf(tw, "%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\n", s.Source, done, s.Blobs, s.Records, s.Bytes, s.DeadLetters, s.Proved, s.Counted,
			s.NotHeld, len(s.Gaps))
		blobs += s.Blobs
		records += s.Records
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	for _, s := range r.Streams {
		for _, g := range s.Gaps {
			if !g.Acknowledged.IsZero() {
				_, _ = fmt.Fprintf(w, "gap of %s, %s to %s (%s), acknowledged %s\n", s.Source, g.Start.Format(time.RFC3339), g.End.Format(time.RFC3339),
					g.Reason, g.Acknowledged.Format(time.RFC3339)) // the last line tells whether writing works
			}
		}
	}
	for _, p := range r.Problems {
		where := p.Source
		if p.ContentID != "" {
			where += " blob " + p.ContentID
		}
		if p.Topic != "" {
			where += fmt.Sprintf(" %s/%d@%d", p.Topic, p.Partition, p.Offset)
		}
		_, _ = fmt.Fprintf(w, "%s: %s: %s\n", p.Finding, where, p.Detail)
	}
	verdict := "complete"
	if !r.Complete {
		verdict = fmt.Sprintf("NOT complete: %d problems", r.Found)
	}
	_, err := fmt.Fprintf(w, "tenant %s, blobs created %s to %s: %d blobs, %d records: %s\n", r.Tenant, r.From.Format(time.RFC3339),
		r.To.Format(time.RFC3339), blobs, records, verdict)
	return err
}
