package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"millrace/ingester/internal/importer"
	"millrace/internal/service"
	"millrace/pkg/audit"
	"millrace/pkg/kafkatx"
	"millrace/pkg/wire"
)

// ImportOptions says what to import.
type ImportOptions struct {
	Files    []string
	Tenant   string                  // directory id; "" = the OrganizationId of each file's first record
	Fallback audit.TenantID          // for a file in which no record names its tenant; "" = such a file is refused
	Progress func(importer.Progress) // called after each unit; nil = not wanted
}

// ImportProgress is how far an import is.
type ImportProgress = importer.Progress

// Import carries exported audit records to the import topic: each unit of 1,000 rows once, however often the same content is imported,
// and also after a crash, because its checkpoint is in the transaction of its records. It returns when every file is read, with the
// errors of those that could not be read to their end; what was read of them before is on the topics. It may run beside an ingester: its
// group, transactional ids and checkpoints are its own.
func Import(ctx context.Context, cfg Config, rt service.Runtime, opts ImportOptions) (ImportProgress, error) {
	ic := importer.Config{
		Names: cfg.Kafka.Names(), Partitions: cfg.Kafka.Partitions, Control: cfg.Kafka.ControlPartitions,
		Files: opts.Files, Fallback: opts.Fallback, Progress: opts.Progress, Log: rt.Log, Registerer: rt.Registry, Now: time.Now,
	}
	if opts.Tenant != "" {
		id, err := audit.ParseTenantID(opts.Tenant)
		if err != nil {
			return ImportProgress{}, service.UsageError{Err: err}
		}
		ic.Tenant = id
	}
	im, err := importer.New(ic)
	if err != nil {
		return ImportProgress{}, service.UsageError{Err: err}
	}
	select {
	case <-im.Done():
		return im.Progress(), im.Err() // nothing in them could be read
	default:
	}
	client, err := cfg.Kafka.Open(ctx, wire.StageImport, rt.Log, rt.Registry)
	if err != nil {
		return ImportProgress{}, err
	}
	defer client.Close()
	names := cfg.Kafka.Names()
	stage, err := kafkatx.NewStage(client, kafkatx.StageConfig{
		Prefix: names.Prefix, Name: wire.StageImport, StateTopic: names.Checkpoints(), StatusTopic: names.Status(),
		Layout: stateLayout, New: im.Handler, Codec: cfg.Kafka.Codec, SessionTimeout: cfg.Kafka.SessionTimeout,
	})
	if err != nil {
		return ImportProgress{}, err
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1) // one: nobody may be waiting
	go func() { ended <- stage.Run(running) }()
	select {
	case err = <-ended:
	case <-im.Done():
		stop()
		err = <-ended
	}
	if err == nil && ctx.Err() != nil {
		err = errors.New("interrupted: import the same files again to go on where it stopped")
	}
	return im.Progress(), errors.Join(im.Err(), err)
}

// printer writes a line of progress every two seconds.
func printer(w io.Writer) func(importer.Progress) {
	last := time.Now()
	return func(p importer.Progress) {
		if time.Since(last) < 2*time.Second {
			return
		}
		last = time.Now()
		percent := int64(100)
		if p.Size > 0 {
			percent = p.Read * 100 / p.Size
		}
		_, _ = fmt.Fprintf(w, "%s: %d %%, %d rows, %d records, %d known, %d dead letters\n", p.File, percent, p.Rows, p.Records, p.Known, p.Bad) // progress is a courtesy
	}
}
