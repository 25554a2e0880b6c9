package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"millrace/ingester/internal/plan"
	"millrace/ingester/internal/source"
	"millrace/internal/service"
	"millrace/pkg/kafkatx"
	"millrace/pkg/m365"
	"millrace/pkg/msauth"
	"millrace/pkg/wire"
)

// stateLayout is the version of what the ingester keeps on the checkpoint topic.
const stateLayout = 1

// App is a running ingester.
type App struct {
	client  *kafkatx.Client
	stage   *kafkatx.Stage
	sources *source.Sources
	status  string // topic
	tenants *roster
	log     *slog.Logger
	hooks   *hooks
}

// Program describes the binary.
func Program() service.Program[Config] {
	return service.Program[Config]{
		Name:     "ingester",
		Synopsis: "reads the audit feed and the directory of Microsoft 365 tenants and writes every record to Kafka, once.",
		Default:  DefaultConfig,
		Validate: Config.Validate,
		New: func(ctx context.Context, cfg Config, rt service.Runtime) (service.Component, error) {
			return New(ctx, cfg, rt)
		},
		Check:          Check,
		CheckJSON:      CheckJSON,
		ValidateTopics: func(c Config) error { return c.Kafka.Validate() },
		Topics: func(cfg Config, w io.Writer) error {
			_, err := io.WriteString(w, cfg.Kafka.Commands(wire.StageIngester, wire.StageImport)+cfg.Kafka.AuditorCommands())
			return err
		},
		Commands: map[string]service.Command[Config]{
			"ack-gap": ackCommand(), "import": importCommand(), "status": statusCommand(), "stop-subscription": stopCommand(),
			"verify": verifyCommand(),
		},
		Base: func(c *Config) *service.Config { return &c.Config },
	}
}

// New makes the ingester: it sees whether anybody can sign in, connects to Kafka and sees to the topics.
func New(ctx context.Context, cfg Config, rt service.Runtime) (*App, error) {
	metrics, err := m365.NewMetrics(rt.Registry)
	if err != nil {
		return nil, err
	}
	sc := source.Config{
		Names: cfg.Kafka.Names(), Partitions: cfg.Kafka.Partitions, Control: cfg.Kafka.ControlPartitions,
		Plan:      plan.Config{Fastest: cfg.Limits.PollFastest, Slowest: cfg.Limits.PollSlowest},
		RetryWait: cfg.Limits.RetryWait, DirectoryEvery: cfg.Limits.DirectoryEvery, ListGrace: cfg.Limits.ListGrace, Hook: webhookOf(cfg.Webhook),
		Memory: int64(cfg.Limits.Memory), SpoolDir: cfg.Limits.SpoolDir, Log: rt.Log, Registerer: rt.Registry, Now: time.Now,
	}
	a := &App{status: cfg.Kafka.Names().Status(), tenants: newRoster(cfg, metrics), log: rt.Log}
	if sc.Tenants, err = a.tenants.take(cfg.Tenants); err != nil {
		return nil, err
	}
	sc.Directory = func(ctx context.Context, number int32, fn func(string, bool)) error {
		return a.directory(ctx, cfg.Kafka.Names().Directory(), number, fn)
	}
	if a.sources, err = source.New(sc); err != nil {
		return nil, err
	}
	if err := probe(ctx, a.tenants.connections()); err != nil {
		return nil, err
	}
	if a.client, err = cfg.Kafka.Open(ctx, wire.StageIngester, rt.Log, rt.Registry); err != nil {
		return nil, err
	}
	names := cfg.Kafka.Names()
	a.stage, err = kafkatx.NewStage(a.client, kafkatx.StageConfig{
		Prefix: names.Prefix, Name: wire.StageIngester, StateTopic: names.Checkpoints(), StatusTopic: names.Status(),
		Topics: cfg.Kafka.Specs(wire.StageIngester), Layout: stateLayout, New: a.sources.Handler, Codec: cfg.Kafka.Codec, SessionTimeout: cfg.Kafka.SessionTimeout,
	})
	if err == nil {
		a.hooks, err = newHooks(ctx, cfg.Webhook, a.sources, rt.Registry)
	}
	if err != nil {
		a.client.Close()
		return nil, err
	}
	return a, nil
}

// dial makes a client for a command and sees whether the cluster answers. The caller closes it.
func dial(ctx context.Context, cfg Config, command string, rt service.Runtime) (*kafkatx.Client, error) {
	client, err := cfg.Kafka.Client(command, rt.Log, nil)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := client.Ping(ctx); err != nil {
		client.Close()
		return nil, err
	}
	return client, nil
}

// startTimeout bounds each look at a service that may not be there, so that a start fails with a clear line and does not hang.
const startTimeout = 12 * time.Second

// maxProbes bounds how many tenants are tried when a start looks for one that can sign in.
const maxProbes = 5

// probe fails if every tenant's credential is refused: then the configuration is wrong, and running on would only hide it. One tenant
// that can sign in, or a sign-in service in trouble, is reason enough to start; what is wrong with the others shows in their status.
func probe(ctx context.Context, connections []*connection) error {
	if len(connections) > maxProbes {
		return nil
	}
	var refused []error
	for _, c := range connections {
		ctx, cancel := context.WithTimeout(ctx, startTimeout)
		_, err := c.tokens.Token(ctx, c.hosts.API)
		cancel()
		auth, ok := errors.AsType[*msauth.AuthError](err)
		if !ok || auth.Code == "" && auth.Unwrap() == nil {
			return nil
		}
		refused = append(refused, fmt.Errorf("tenant %s: %w", c.id, err))
	}
	return errors.Join(refused...)
}

// Run reads until ctx ends.
func (a *App) Run(ctx context.Context) error {
	defer a.client.Close()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var beside sync.WaitGroup
	beside.Go(func() { a.observe(ctx) })
	if a.hooks != nil {
		beside.Go(func() {
			if err := a.hooks.receiver.Serve(ctx, a.hooks.listener); err != nil {
				a.log.Error("the webhook receiver has ended; polling goes on", "err", err)
			}
		})
	}
	err := a.stage.Run(ctx)
	stop()
	beside.Wait()
	return err
}

// directory reads the keys of a partition of the directory topic.
func (a *App) directory(ctx context.Context, topic string, number int32, fn func(key string, gone bool)) error {
	first, last, err := a.client.Offsets(ctx, topic)
	if err != nil {
		return err
	}
	if int(number) >= len(last) {
		return fmt.Errorf("topic %s has no partition %d", topic, number)
	}
	return a.client.ReadRange(ctx, topic, number, first[number], last[number], func(r kafkatx.Record) error {
		fn(string(r.Key), r.Value == nil)
		return nil
	})
}

// observe shows the sources what is on the status topic: acknowledged gaps, and what other replicas have. It is worth no more than a line in the
// log if the topic cannot be read.
func (a *App) observe(ctx context.Context) {
	for {
		err := a.client.Tail(ctx, a.status, a.sources.Observe, nil)
		if ctx.Err() != nil {
			return
		}
		a.log.Warn("the status topic cannot be read; it is tried again", "err", err)
		timer := time.NewTimer(observeAgain)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// observeAgain is the wait after the status topic could not be read.
const observeAgain = 10 * time.Second

// Ready says whether the process owns its numbers and has loaded their progress.
func (a *App) Ready() error {
	if !a.stage.Ready() {
		return errors.New("joining the group or loading checkpoints")
	}
	return nil
}

// States lists the states of the components of the tenants that this process owns.
func (a *App) States() []wire.Status { return a.sources.States() }
