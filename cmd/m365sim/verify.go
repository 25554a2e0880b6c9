package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"millrace/internal/m365sim"
	"millrace/internal/m365sim/tenant"
	"millrace/internal/proof"
	normalizer "millrace/normalizer/app"
	"millrace/pkg/audit"
	"millrace/pkg/wire"
)

const (
	// verifyAgain is how long verify waits before it compares once more.
	verifyAgain = 5 * time.Second
	// verifyAhead is how far, by the machine's clock, verify looks beyond its beginning: what appears meanwhile may be on the topics.
	verifyAhead = 15 * time.Minute
)

// errNotProved is the end of a verify that found something missing, repeated or wrong.
var errNotProved = errors.New("verify: the topics are not what the tenants have")

// verify holds the topics of a cluster against what the tenants of a simulator's folder have, record by record, whether the simulator
// runs or not. Where a tenant goes on living, what became visible in the last while may be on the topics or not.
func verify(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	fs := flag.NewFlagSet("m365sim verify", flag.ContinueOnError)
	fs.SetOutput(stderr)
	dir := fs.String("dir", "", "`folder` of the simulator")
	brokers := fs.String("brokers", "127.0.0.1:9092", "bootstrap `addresses` of the cluster, host:port,…")
	prefix := fs.String("prefix", "m365", "`prefix` of the topics")
	combined := fs.Bool("combined", false, "the topics are combined, not one a workload")
	behind := fs.Duration("behind", 2*time.Minute, "how far the pipeline may be behind tenants that go on living")
	wait := fs.Duration("wait", 0, "compare again and again for so long until the proof holds")
	if err := fs.Parse(args); err != nil {
		return err
	}
	folder, err := m365sim.ReadFolder(*dir)
	if err != nil {
		return err
	}
	var tenants []*tenant.Tenant
	for _, tc := range folder.Tenants {
		t, err := tenant.New(tc)
		if err != nil {
			return err
		}
		tenants = append(tenants, t)
	}
	cfg := proof.Config{Brokers: strings.Split(*brokers, ","), Names: wire.Names{Prefix: *prefix, Combined: *combined}}
	if cfg.Map, err = normalizer.NewMap(normalizer.DefaultConfig()); err != nil {
		return err
	}
	for deadline := time.Now().Add(*wait); ; {
		now := time.Now()
		cfg.Source = has(folder, tenants, folder.At(now.Add(-*behind)), folder.At(now.Add(verifyAhead)))
		report, err := proof.Run(ctx, cfg)
		if err != nil {
			return fmt.Errorf("verify: %w", err)
		}
		if report.Holds() || time.Now().After(deadline) {
			if err := report.Write(stdout); err != nil || report.Holds() {
				return err
			}
			return errNotProved
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(verifyAgain):
		}
	}
}

// has lists what the tenants have for those who are subscribed. What is visible only after due is fresh; the week before the origin never
// is.
func has(folder *m365sim.Folder, tenants []*tenant.Tenant, due, end time.Time) proof.Source {
	return func(ctx context.Context, fn func(proof.Item) error) error {
		for _, t := range tenants {
			until := end
			if t.Config().LiveRate < 0 || until.Before(t.Config().Origin) {
				until = t.Config().Origin
			}
			err := t.Blobs(ctx, until, func(b tenant.Blob) error {
				if !folder.Serves(t.ID(), b.ContentType, b.Created) {
					return nil
				}
				item := proof.Item{Tenant: t.ID(), ContentID: b.ContentID, Domain: audit.DomainAudit, Fresh: b.Created.After(t.Config().Origin) && b.Visible.After(due)}
				if b.ContentType == tenant.DLP {
					item.Domain = audit.DomainDLP
				}
				for i, raw := range b.Records {
					item.Index, item.Raw = i, raw
					if err := fn(item); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	}
}
