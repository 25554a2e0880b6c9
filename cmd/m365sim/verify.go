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
	cfg := proof.Config{Brokers: strings.Split(*brokers, ","), Names: wire.Names{Prefix: *prefix, Combined: *combined}, Source: proof.Feed(t)}
	if cfg.Map, err = normalizer.NewMap(normalizer.DefaultConfig()); err != nil {
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
