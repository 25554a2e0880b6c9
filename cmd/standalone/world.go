package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/broker"
	"millrace/internal/m365sim"
	"millrace/internal/m365sim/tenant"
	"millrace/pkg/wire"
)

// world is what surrounds the three stages: a folder, a broker, and a Microsoft 365.
type world struct {
	opt    options
	dir    string
	kafka  wire.Kafka
	broker *broker.Broker  // nil with -kafka
	sim    *m365sim.Server // nil with -config and -import
	tenant *tenant.Tenant  // nil with -config and -import
	undo   []func() error  // in reverse order
}

// identity is what makes the tenant of a data folder the same at the next start.
type identity struct {
	Seed    uint64    `json:"seed"`
	Records int       `json:"records"`
	Origin  time.Time `json:"origin"`
	Live    bool      `json:"live"` // the tenant goes on living after its week
}

// open makes the surroundings. On an error everything that was opened is closed.
func open(opt options, log *slog.Logger, reg prometheus.Registerer) (_ *world, err error) {
	w := &world{opt: opt, dir: opt.dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	if w.dir == "" {
		if w.dir, err = os.MkdirTemp("", "millrace-"); err != nil {
			return nil, err
		}
		w.undo = append(w.undo, func() error { return os.RemoveAll(w.dir) })
	}
	if err := os.MkdirAll(w.dir, 0o750); err != nil {
		return nil, fmt.Errorf("data folder: %w: name one that you may write to with -data", err)
	}
	w.kafka = wire.DefaultKafka()
	w.kafka.Prefix, w.kafka.Partitions, w.kafka.ControlPartitions = opt.prefix, opt.partitions, opt.partitions
	w.kafka.Brokers = opt.brokers()
	if opt.kafka == "" {
		if err := w.openBroker(log); err != nil {
			return nil, err
		}
	}
	if opt.config == "" && len(opt.imports) == 0 {
		return w, w.openTenant(log, reg)
	}
	return w, nil
}

func (w *world) openBroker(log *slog.Logger) error {
	b, err := broker.Open(broker.Config{Dir: filepath.Join(w.dir, "broker"), Logger: log})
	if err != nil {
		return err
	}
	w.broker = b
	w.kafka.Brokers = []string{b.Addr()}
	w.undo = append(w.undo, b.Close)
	return nil
}

func (w *world) openTenant(log *slog.Logger, reg prometheus.Registerer) error {
	id, err := w.identity()
	if err != nil {
		return err
	}
	cfg := tenant.Config{Seed: id.Seed, Records: id.Records, Origin: id.Origin}
	if !id.Live {
		cfg.LiveRate = -1
	}
	if w.tenant, err = tenant.New(cfg); err != nil {
		return err
	}
	w.sim, err = m365sim.New(m365sim.Config{
		Tenants: []tenant.Config{cfg}, Dir: filepath.Join(w.dir, "m365sim"), AlwaysSubscribed: true,
		Quota:  -1, // the real one, 2,000 requests a minute, would make a week last for minutes
		Logger: log, Registerer: reg,
	})
	if err != nil {
		return err
	}
	w.undo = append(w.undo, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second) // its clients have ended
		defer cancel()
		return w.sim.Close(ctx)
	})
	return w.sim.Start("127.0.0.1:0")
}

// identity reads who the tenant of the data folder is, or decides it and writes it down before anything is served.
func (w *world) identity() (identity, error) {
	path := filepath.Join(w.dir, "standalone.json")
	want := identity{Seed: w.opt.seed, Records: w.opt.records, Live: !w.opt.once}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		want.Origin = time.Now().UTC().Truncate(time.Second)
		text, err := json.Marshal(want)
		if err != nil {
			return want, err
		}
		if err := os.WriteFile(path+".new", text, 0o600); err != nil {
			return want, err
		}
		return want, os.Rename(path+".new", path)
	}
	if err != nil {
		return want, err
	}
	var have identity
	if err := json.Unmarshal(text, &have); err != nil {
		return have, fmt.Errorf("%s: %w: it is not a data folder of standalone; name another with -data", path, err)
	}
	want.Origin = have.Origin
	if have != want {
		return have, fmt.Errorf("data folder %s holds the tenant of -seed %d -records %d (once: %t): use the same, or another folder",
			w.dir, have.Seed, have.Records, !have.Live)
	}
	return have, nil
}

func (w *world) close() error {
	var all error
	for _, undo := range slices.Backward(w.undo) {
		all = errors.Join(all, undo())
	}
	w.undo = nil
	return all
}

// carried waits until the ledger names every blob that the tenant has.
func (w *world) carried(ctx context.Context) error {
	left := map[string]bool{}
	err := w.tenant.Blobs(ctx, time.Time{}, func(b tenant.Blob) error {
		left[b.ContentID] = true
		return nil
	})
	if err != nil {
		return err
	}
	names := w.kafka.Names()
	client, err := kgo.NewClient(kgo.SeedBrokers(w.kafka.Brokers...), kgo.ConsumeTopics(names.Ledger()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return err
	}
	defer client.Close()
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			return err
		}
		var failed error
		fetches.EachRecord(func(r *kgo.Record) {
			var entry wire.LedgerEntry
			if err := json.Unmarshal(r.Value, &entry); err != nil {
				failed = fmt.Errorf("ledger offset %d: %w", r.Offset, err)
				return
			}
			if entry.Blob != nil {
				delete(left, entry.Blob.ContentID)
			}
		})
		if failed != nil {
			return failed
		}
	}
	return nil
}
