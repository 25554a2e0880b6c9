package app

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
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
	client, err := dial(ctx, cfg, "verify", rt)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	return verify.Run(ctx, client, verify.Config{
		Names: cfg.Kafka.Names(), Control: cfg.Kafka.ControlPartitions, Tenant: id, From: opts.From, To: opts.To, Now: now, Progress: opts.Progress,
	})
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
	blobs, records := 0, 0
	err := table(w, "SOURCE DONE-UNTIL BLOBS RECORDS BYTES DEAD-LETTERS PROVED COUNTED NOT-HELD GAPS", r.Streams, func(s *verify.Stream) []string {
		done := "-"
		if !s.DoneUntil.IsZero() {
			done = s.DoneUntil.Format(time.RFC3339)
		}
		blobs += s.Blobs
		records += s.Records
		return strings.Fields(fmt.Sprintln(s.Source, done, s.Blobs, s.Records, s.Bytes, s.DeadLetters, s.Proved, s.Counted, s.NotHeld, len(s.Gaps)))
	})
	if err != nil {
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
	_, err = fmt.Fprintf(w, "tenant %s, blobs created %s to %s: %d blobs, %d records: %s\n", r.Tenant, r.From.Format(time.RFC3339),
		r.To.Format(time.RFC3339), blobs, records, verdict)
	return err
}
