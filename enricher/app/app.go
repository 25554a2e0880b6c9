package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"millrace/enricher/internal/directory"
	"millrace/enricher/internal/enrich"
	"millrace/enricher/internal/join"
	"millrace/enricher/internal/network"
	"millrace/enricher/internal/useragent"
	"millrace/internal/service"
	"millrace/pkg/kafkatx"
	"millrace/pkg/wire"
)

// Program describes the binary.
func Program() service.Program[Config] {
	return service.Program[Config]{
		Name:     "enricher",
		Synopsis: "joins normalized Microsoft 365 audit events with users, groups, applications, networks and user agents, exactly once.",
		Default:  Default,
		Validate: Config.Validate,
		New: func(ctx context.Context, cfg Config, rt service.Runtime) (service.Component, error) {
			return New(ctx, cfg, rt)
		},
		Check: Check,
		Topics: func(cfg Config, w io.Writer) error {
			_, err := io.WriteString(w, cfg.Kafka.Commands(wire.StageEnricher))
			return err
		},
		Base: func(c *Config) *service.Config { return &c.Config },
	}
}

// App is a running enricher.
type App struct {
	cfg       Config
	log       *slog.Logger
	client    *kafkatx.Client
	directory *directory.Loader
	network   *network.Watcher
	agents    *useragent.Parser
	stage     *kafkatx.Stage
	reloads   prometheus.Counter // files that were not usable

	// Set once by New, for lookups.
	domains, groups map[string]bool

	last atomic.Pointer[join.Lookups] // what lookups returned last
}

// New puts an enricher together and makes sure that its topics are there. Nothing runs before Run.
func New(ctx context.Context, cfg Config, rt service.Runtime) (*App, error) {
	a := &App{cfg: cfg, log: rt.Log, domains: setOf(cfg.Domains), groups: setOf(cfg.Directory.Groups)}
	a.agents = useragent.NewParser(cfg.UserAgents.minimum())
	sources, err := cfg.Network.sources()
	if err != nil {
		return nil, err
	}
	if a.network, err = network.NewWatcher(sources); err != nil {
		return nil, err
	}
	a.reloads = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "millrace_enricher_reload_failures_total", Help: "Replaced lookup files that could not be used; the previous content stays in use.",
	})
	metrics, err := enrich.NewMetrics(rt.Registry)
	if err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	shared, err := wire.NewMetrics(wire.StageEnricher, rt.Registry)
	if err := errors.Join(err, rt.Registry.Register(a.reloads)); err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	if a.client, err = cfg.Kafka.Open(ctx, wire.StageEnricher, rt.Log, rt.Registry); err != nil {
		return nil, err
	}
	if err := a.assemble(metrics, shared, rt); err != nil {
		a.client.Close()
		return nil, err
	}
	return a, nil
}

// assemble makes the directory's loader and the stage.
func (a *App) assemble(metrics *enrich.Metrics, shared *wire.Metrics, rt service.Runtime) error {
	names := a.cfg.Kafka.Names()
	tenants, err := a.cfg.Directory.tenants()
	if err != nil {
		return err
	}
	a.directory = directory.NewLoader(directory.Config{Topic: names.Directory(), Wait: a.cfg.Directory.Wait, Tenants: tenants}, a.client, rt.Log, rt.Registry)
	processors := enrich.Config{Names: names, Lookups: a.lookups, Metrics: metrics, Shared: shared, Now: time.Now, Log: rt.Log}
	a.stage, err = kafkatx.NewStage(a.client, kafkatx.StageConfig{
		Prefix:         names.Prefix,
		Name:           wire.StageEnricher,
		Inputs:         names.EventsAll(),
		StatusTopic:    names.Status(),
		Topics:         a.cfg.Kafka.Specs(wire.StageEnricher),
		Codec:          a.cfg.Kafka.Codec,
		SessionTimeout: a.cfg.Kafka.SessionTimeout,
		New:            func(int32) (kafkatx.Handler, error) { return enrich.New(processors), nil },
	})
	return err
}

// lookups is the newest state of everything that events are joined with. Without a change it is the same pointer as before, so that what
// joiners made of it stays good. Owners ask concurrently; two of them may make equal ones.
func (a *App) lookups() *join.Lookups {
	state := a.network.State()
	snapshot := a.directory.Snapshot()
	if l := a.last.Load(); l != nil && l.Directory == snapshot && l.Ranges == state.Ranges && l.Places == state.Places {
		return l
	}
	l := &join.Lookups{
		Directory: snapshot, Ranges: state.Ranges, Places: state.Places, Agents: a.agents, Domains: a.domains, Groups: a.groups,
	}
	a.last.Store(l)
	return l
}

// Run enriches until ctx ends. Events wait for the directory first, as configured.
func (a *App) Run(ctx context.Context) error {
	defer a.client.Close()
	return service.RunTasks(ctx,
		service.Task{Name: "directory", Run: a.directory.Run},
		service.Task{Name: "network", Run: func(ctx context.Context) error {
			a.network.Run(ctx, a.cfg.Network.Reload, a.log, a.reloads.Inc)
			return nil
		}},
		service.Task{Name: "enrich", Run: func(ctx context.Context) error {
			if err := a.directory.Await(ctx); err != nil {
				return err
			}
			return a.stage.Run(ctx)
		}},
	)
}

// Ready is nil once events are enriched.
func (a *App) Ready() error {
	if err := a.directory.Ready(); err != nil {
		return err
	}
	if !a.stage.Ready() {
		return errors.New("the enricher has not been given its partition numbers yet")
	}
	return nil
}

// Check looks at everything the enricher needs and writes what it found.
func Check(ctx context.Context, cfg Config, rt service.Runtime, w io.Writer) error {
	say := func(format string, args ...any) error { _, err := fmt.Fprintf(w, format+"\n", args...); return err }
	if err := say("configuration: ok"); err != nil {
		return err
	}
	sources, err := cfg.Network.sources()
	if err != nil {
		return err
	}
	watcher, err := network.NewWatcher(sources)
	if err != nil {
		return err
	}
	if err := say("lookup files: ok (%d feeds, databases %s)", len(sources.Feeds), orNone(watcher.State().Places.Version())); err != nil {
		return err
	}
	return cfg.Kafka.Check(ctx, wire.StageEnricher, rt.Log, w)
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// setOf is a set of lower-cased texts, nil when there are none.
func setOf(list []string) map[string]bool {
	if len(list) == 0 {
		return nil
	}
	set := make(map[string]bool, len(list))
	for _, s := range list {
		set[strings.ToLower(s)] = true
	}
	return set
}

// minimum lays the configured versions over the built-in ones.
func (u UserAgents) minimum() useragent.Minimum {
	m := useragent.DefaultMinimum()
	maps.Copy(m.Browsers, u.Browsers)
	maps.Copy(m.Systems, u.Systems)
	return m
}
