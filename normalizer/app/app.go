package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"millrace/internal/service"
	"millrace/normalizer/internal/mapping"
	"millrace/normalizer/internal/normalize"
	"millrace/normalizer/internal/seen"
	"millrace/pkg/kafkatx"
	"millrace/pkg/wire"
)

// Program describes the binary.
func Program() service.Program[Config] {
	return service.Program[Config]{
		Name:     wire.StageNormalizer,
		Synopsis: "turns raw Microsoft 365 audit records into OCSF 1.8.0 events, once each.",
		Default:  DefaultConfig,
		Validate: Config.Validate,
		New: func(ctx context.Context, cfg Config, rt service.Runtime) (service.Component, error) {
			return New(ctx, cfg, rt)
		},
		Check: check,
		Topics: func(cfg Config, w io.Writer) error {
			_, err := io.WriteString(w, cfg.Kafka.Commands(wire.StageNormalizer, wire.StageRedrive))
			return err
		},
		Base:     func(c *Config) *service.Config { return &c.Service },
		Commands: commands(),
	}
}

// App is a running normalizer.
type App struct {
	client *kafkatx.Client
	stage  *kafkatx.Stage
}

// New connects to the cluster, makes sure of the topics, and prepares the stage. Nothing is read before Run.
func New(ctx context.Context, cfg Config, rt service.Runtime) (*App, error) {
	mapper, err := newMapper(cfg)
	if err != nil {
		return nil, err
	}
	return build(ctx, cfg, rt, mapper)
}

// build is New with any mapping, such as one with a defect.
func build(ctx context.Context, cfg Config, rt service.Runtime, mapper normalize.Mapper) (*App, error) {
	budget := seen.NewBudget(int64(cfg.Seen.Memory))
	metrics, err := normalize.NewMetrics(rt.Registry, budget, cfg.Seen.CacheDir != "")
	if err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	client, err := cfg.Kafka.Open(ctx, wire.StageNormalizer, rt.Log, rt.Registry)
	if err != nil {
		return nil, err
	}
	handlers := normalize.Config{
		Names: cfg.Kafka.Names(), Partitions: cfg.Kafka.Partitions, Horizon: cfg.Kafka.Topics.SeenHorizon,
		Budget: budget, CacheDir: cfg.Seen.CacheDir, Mapper: mapper, Metrics: metrics, Log: rt.Log, Now: time.Now,
	}
	names := cfg.Kafka.Names()
	stage, err := kafkatx.NewStage(client, kafkatx.StageConfig{
		Prefix: cfg.Kafka.Prefix, Name: wire.StageNormalizer,
		Inputs: names.RawAll(), StateTopic: names.Seen(), StatusTopic: names.Status(), Topics: cfg.Kafka.Specs(wire.StageNormalizer), Layout: normalize.Layout,
		New:             func(number int32) (kafkatx.Handler, error) { return normalize.New(number, handlers) },
		MaxBatchRecords: cfg.Batch.Records, MaxBatchBytes: int(cfg.Batch.Bytes), Codec: cfg.Kafka.Codec,
		SessionTimeout: cfg.Kafka.SessionTimeout,
	})
	if err != nil {
		client.Close()
		return nil, err
	}
	return &App{client: client, stage: stage}, nil
}

func newMapper(cfg Config) (*mapping.Mapper, error) {
	mapper, err := mapping.New(mapping.Options{RawData: cfg.Events.RawData, DLPClear: cfg.DLP.Content == "clear"})
	if err != nil {
		return nil, fmt.Errorf("compile the mapping tables: %w", err)
	}
	return mapper, nil
}

// Run processes until ctx ends, or something is wrong that a human has to put right.
func (a *App) Run(ctx context.Context) error {
	defer a.client.Close()
	return a.stage.Run(ctx)
}

// errNotReady is what /readyz says until the group has assigned numbers and their state is loaded.
var errNotReady = errors.New("waiting for the group to assign partition numbers, or loading their state")

// Ready implements service.Component.
func (a *App) Ready() error {
	if !a.stage.Ready() {
		return errNotReady
	}
	return nil
}

// check answers -check: the mapping tables compile, the cluster answers, the topics are there.
func check(ctx context.Context, cfg Config, rt service.Runtime, w io.Writer) error {
	if _, err := newMapper(cfg); err != nil {
		return err
	}
	if _, err := io.WriteString(w, "configuration: ok\nmapping tables: ok\n"); err != nil {
		return err
	}
	return cfg.Kafka.Check(ctx, wire.StageNormalizer, rt.Log, w)
}
