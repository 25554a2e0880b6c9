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

// verifyAgain is how long verify waits before it compares once more.
const verifyAgain = 5 * time.Second

// errNotProved is the end of a verify that found something missing, repeated or wrong.
var errNotProved = errors.New("verify: the topics are not what the tenant has")

// verify holds the topics of a cluster against what the tenant of a simulator's folder has, record by record, whether the simulator
// runs or not.
func verify(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	fs := flag.NewFlagSet("m365sim verify", flag.ContinueOnError)
	fs.SetOutput(stderr)
	dir := fs.String("dir", "", "`folder` of the simulator")
	brokers := fs.String("brokers", "127.0.0.1:9092", "bootstrap `addresses` of the cluster, host:port,…")
	prefix := fs.String("prefix", "m365", "`prefix` of the topics")
	combined := fs.Bool("combined", false, "the topics are combined, not one a workload")
	wait := fs.Duration("wait", 0, "compare again and again for so long until the proof holds")
	if err := fs.Parse(args); err != nil {
		return err
	}
	tenants, err := m365sim.FolderTenants(*dir)
	if err != nil {
		return err
	}
	if len(tenants) != 1 || tenants[0].LiveRate > 0 {
		return errors.New("verify: want a simulator with one tenant whose life has ended: start it with -live-rate -1")
	}
	t, err := tenant.New(tenants[0])
	if err != nil {
		return err
	}
	cfg := proof.Config{Brokers: strings.Split(*brokers, ","), Names: wire.Names{Prefix: *prefix, Combined: *combined}, Source: source(t)}
	if cfg.Map, err = mapping(); err != nil {
		return err
	}
	for deadline := time.Now().Add(*wait); ; {
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

// source lists what the tenant has, by its seed and origin alone.
func source(t *tenant.Tenant) proof.Source {
	return func(ctx context.Context, fn func(proof.Item) error) error {
		return t.Blobs(ctx, time.Time{}, func(b tenant.Blob) error {
			domain := audit.DomainAudit
			if b.ContentType == tenant.DLP {
				domain = audit.DomainDLP
			}
			for i, raw := range b.Records {
				if err := fn(proof.Item{ContentID: b.ContentID, Index: i, Domain: domain, Raw: raw}); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

// mapping is the normalizer's own, with its default configuration.
func mapping() (func(audit.Record) ([]proof.Mapped, error), error) {
	mapRecord, err := normalizer.NewMap(normalizer.DefaultConfig())
	if err != nil {
		return nil, err
	}
	return func(r audit.Record) ([]proof.Mapped, error) {
		events, err := mapRecord(r)
		mapped := make([]proof.Mapped, len(events))
		for i, e := range events {
			mapped[i] = proof.Mapped{UID: e.UID, ClassUID: e.ClassUID, Value: e.Value}
		}
		return mapped, err
	}, nil
}
