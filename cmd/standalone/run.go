package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	enricher "millrace/enricher/app"
	ingester "millrace/ingester/app"
	"millrace/internal/conf"
	"millrace/internal/m365sim"
	"millrace/internal/service"
	normalizer "millrace/normalizer/app"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1 // something went wrong while running, or the proof fails
	exitUsage  = 2
)

// run is main without the process around it.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	opt, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return exitOK
	}
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "standalone: %v\n", err)
		return exitUsage
	}
	holds, err := carry(ctx, opt, stdout, stderr)
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "standalone: %v\n", err)
		return exitFailed
	}
	if !holds {
		return exitFailed
	}
	return exitOK
}

// carry opens the surroundings, runs the pipeline in them and, with -once, gives the verdict.
func carry(ctx context.Context, opt options, stdout, stderr io.Writer) (holds bool, err error) {
	stopProfile, err := profile(opt.cpuProfile)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, stopProfile()) }()
	level := slog.LevelError
	if opt.verbose {
		level = slog.LevelInfo
	}
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level}))
	reg := prometheus.NewRegistry()
	w, err := open(opt, log, reg)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	w.greet(stdout)
	p := &pipeline{world: w, rt: service.Runtime{Log: log, Registry: reg, Build: service.ReadBuildInfo()}, out: &console{w: stdout}}
	if err := p.run(ctx); err != nil || !opt.once || ctx.Err() != nil {
		return true, err
	}
	return w.verdict(ctx, stdout)
}

func profile(path string) (stop func() error, err error) {
	if path == "" {
		return func() error { return nil }, nil
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		return f.Close()
	}, nil
}

// greet says what was started and what to try.
func (w *world) greet(out io.Writer) {
	_, _ = fmt.Fprintln(out, "Millrace standalone: all stages in one process, for trying out")
	if w.broker != nil {
		_, _ = fmt.Fprintf(out, "  broker   %s (embedded, this machine only)\n", w.broker.Addr())
	} else {
		_, _ = fmt.Fprintf(out, "  broker   %s\n", w.opt.kafka)
	}
	if w.tenant != nil {
		_, _ = fmt.Fprintf(out, "  tenant   %s, invented from seed %d: a week of %d records, %d users; served at %s\n",
			w.tenant.ID(), w.tenant.Config().Seed, w.tenant.Config().Records, len(w.tenant.Users()), w.sim.URL())
	}
	if w.opt.dir != "" {
		_, _ = fmt.Fprintf(out, "  data     %s (kept)\n", w.dir)
	}
	if !w.opt.once {
		_, _ = fmt.Fprintf(out, "  try      kcat -b %s -C -t %s.enriched.entra.v1 -c 3 -X isolation.level=read_committed -f '%%k %%h %%s\\n'\n"+
			"           kcat -b %s -L\n  stop     Ctrl-C\n", w.kafka.Brokers[0], w.opt.prefix, w.kafka.Brokers[0])
	}
}

// pipeline is the three stages in their surroundings.
type pipeline struct {
	world *world
	rt    service.Runtime
	out   *console
}

// run works until ctx ends or, with -once, until all that the source has is carried.
func (p *pipeline) run(ctx context.Context) error {
	stages, err := p.stages(ctx)
	if err != nil {
		return err
	}
	ctx, done := context.WithCancel(ctx)
	defer done()
	imported := make(chan struct{})
	tasks := make([]service.Task, 0, len(stages)+3)
	for _, s := range stages {
		tasks = append(tasks, service.Task{Name: s.name, Run: s.component.Run})
	}
	start := time.Now()
	if len(p.world.opt.imports) > 0 {
		tasks = append(tasks, service.Task{Name: "import", Run: func(ctx context.Context) error {
			defer close(imported)
			return p.importFiles(ctx)
		}})
	}
	tasks = append(tasks,
		service.Task{Name: "first event", Run: func(ctx context.Context) error {
			firstEvent(ctx, p.out, p.world.kafka.Brokers, p.world.kafka.Names(), start)
			return nil
		}},
		service.Task{Name: "progress", Run: func(ctx context.Context) error {
			progress(ctx, p.out, p.rt.Registry)
			return nil
		}},
		service.Task{Name: "end", Run: func(ctx context.Context) error {
			if !p.world.opt.once {
				return nil
			}
			defer done()
			return p.untilCarried(ctx, stages, imported)
		}})
	return service.RunTasks(ctx, tasks...)
}

// untilCarried waits until everything that the source has lies on the enriched topics, or nothing moves any more.
func (p *pipeline) untilCarried(ctx context.Context, stages []stage, imported <-chan struct{}) error {
	stuck, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		untilStuck(stuck, p.rt.Registry)
		cancel() // give up waiting; the proof says what is missing
	}()
	err := p.sourceEnded(stuck, imported)
	for _, s := range stages {
		for err == nil && s.component.Ready() != nil {
			select {
			case <-stuck.Done():
				err = stuck.Err()
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
	if err == nil {
		err = rest(stuck, p.rt.Registry)
	}
	if ctx.Err() != nil || errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// sourceEnded waits until all that the source has lies on raw topics.
func (p *pipeline) sourceEnded(ctx context.Context, imported <-chan struct{}) error {
	if len(p.world.opt.imports) == 0 {
		return p.world.carried(ctx)
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-imported:
		return nil
	}
}

// unknownTenant stands for the tenant of files in which no record names it. For trying out that is better than a refusal.
const unknownTenant = "00000000-0000-0000-0000-000000000000"

// importFiles runs the code of `ingester import`.
func (p *pipeline) importFiles(ctx context.Context) error {
	cfg := ingester.DefaultConfig()
	cfg.Kafka = p.world.kafka
	last := time.Now()
	done, err := ingester.Import(ctx, cfg, p.rt, ingester.ImportOptions{
		Files: p.world.opt.imports, Tenant: p.world.opt.tenant, Fallback: unknownTenant,
		Progress: func(i ingester.ImportProgress) {
			if time.Since(last) >= progressEvery && i.Size > 0 {
				last = time.Now()
				_, _ = fmt.Fprintf(p.out, "  import %s: %d%%, file %d of %d, %d rows\n", i.File, 100*i.Read/i.Size, i.Done+1, i.Files, i.Rows)
			}
		},
	})
	if ctx.Err() == nil {
		_, _ = fmt.Fprintf(p.out, "  import of %d files ended: %d rows: %d new, %d known from an earlier import, %d refused\n",
			len(p.world.opt.imports), done.Rows, done.Records, done.Known, done.Bad)
	}
	return err
}

type stage struct {
	name      string
	component service.Component
}

func (p *pipeline) stages(ctx context.Context) ([]stage, error) {
	w := p.world
	// The topics of all stages first: a stage that starts alone makes only its own, and the next one would wait for the layout to settle.
	if err := w.makeTopics(ctx, p.rt.Log); err != nil {
		return nil, err
	}
	nc := normalizer.DefaultConfig()
	nc.Kafka = w.kafka
	n, err := normalizer.New(ctx, nc, p.rt)
	if err != nil {
		return nil, fmt.Errorf("normalizer: %w", err)
	}
	ec := enricher.Default()
	ec.Kafka = w.kafka
	if w.tenant == nil && w.opt.config == "" {
		ec.Directory.Wait = 0 // an import brings no directory
	}
	e, err := enricher.New(ctx, ec, p.rt)
	if err != nil {
		return nil, fmt.Errorf("enricher: %w", err)
	}
	stages := []stage{{"normalizer", n}, {"enricher", e}}
	if len(w.opt.imports) > 0 {
		return stages, nil
	}
	ic, err := w.ingesterConfig()
	if err != nil {
		return nil, err
	}
	i, err := ingester.New(ctx, ic, p.rt)
	if err != nil {
		return nil, fmt.Errorf("ingester: %w", err)
	}
	return append(stages, stage{"ingester", i}), nil
}

func (w *world) makeTopics(ctx context.Context, log *slog.Logger) error {
	client, err := w.kafka.Client("standalone", log, nil)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	if err := client.Ping(ctx); err != nil {
		return err
	}
	_, err = client.EnsureTopics(ctx, w.kafka.Specs(""), true)
	return err
}

// ingesterConfig is that of the file with -config, otherwise one for the simulator.
func (w *world) ingesterConfig() (ingester.Config, error) {
	cfg := ingester.DefaultConfig()
	if w.opt.config != "" {
		if err := conf.Load(&cfg, conf.Sources{File: w.opt.config, Env: os.Environ()}); err != nil {
			return cfg, err
		}
		cfg.Kafka = w.kafka
		return cfg, cfg.Validate()
	}
	cfg.Kafka = w.kafka
	secret := filepath.Join(w.dir, "simulator-secret")
	if err := os.WriteFile(secret, []byte(m365sim.DefaultClientSecret), 0o600); err != nil {
		return cfg, err
	}
	url := w.sim.URL()
	cfg.Tenants = []ingester.Tenant{{
		ID: w.tenant.ID(), ClientID: m365sim.DefaultClientID, Secret: conf.SecretFile(secret),
		Hosts: ingester.Hosts{Authority: url, API: url, Graph: url}, CAFile: w.sim.CAFile(), RequestsPerMinute: 1_000_000,
	}}
	return cfg, nil
}
