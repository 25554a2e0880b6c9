package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"

	"millrace/internal/replay"
	"millrace/internal/service"
	"millrace/pkg/kafkatx"
	"millrace/pkg/wire"
)

// run reads what the flags ask for and passes it to write, at the wanted speed. It tells people on call.Err what it did.
func run(ctx context.Context, call service.Call[config], flags *queryFlags, write func(context.Context, *kafkatx.Client, replay.Query) (writer, error)) error {
	if len(call.Args) > 0 {
		return service.Usagef("%q is no flag of this command; see --help", call.Args[0])
	}
	start := time.Now()
	query, err := flags.query(call.Config.Kafka.Names(), start)
	if err != nil {
		return err
	}
	client, err := call.Config.Kafka.Client("replay", call.Log, call.Registry)
	if err != nil {
		return err
	}
	defer client.Close()
	if err := client.Ping(ctx); err != nil {
		return err
	}
	w, err := write(ctx, client, query)
	if err != nil {
		return err
	}
	pace := replay.Pace{Speed: flags.speed, By: query.By}
	stats, err := replay.Read(ctx, client, query, func(rec kafkatx.Record) error {
		if err := pace.Wait(ctx, rec); err != nil {
			return err
		}
		return w.write(ctx, rec)
	})
	if err == nil {
		err = w.flush(ctx)
	}
	if err = errors.Join(err, w.close()); err != nil {
		return err
	}
	_, err = fmt.Fprintln(call.Err, summary(stats, time.Since(start)))
	return err
}

// writer is where a command puts records. flush makes what was written last; close only gives resources back.
type writer interface {
	write(ctx context.Context, rec kafkatx.Record) error
	flush(ctx context.Context) error
	close() error
}

// stream writes to a buffered stream.
type stream struct {
	record  func(kafkatx.Record) error
	flushes []func() error // innermost first
	closes  []func() error
}

func (s *stream) write(_ context.Context, rec kafkatx.Record) error { return s.record(rec) }

func (s *stream) flush(context.Context) error {
	for _, f := range s.flushes {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

func (s *stream) close() error {
	var errs []error
	for _, f := range s.closes {
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}

func showCommand() service.Command[config] {
	return service.Command[config]{
		Synopsis: "one line a record: when, where, operation, key",
		Help:     "Example: replay show -from 2h -operation UserLoginFailed -values",
		Setup: func(fs *flag.FlagSet) service.Action[config] {
			var flags queryFlags
			flags.register(fs)
			values := fs.Bool("values", false, "print the values too, indented")
			return func(ctx context.Context, call service.Call[config]) error {
				return run(ctx, call, &flags, func(_ context.Context, _ *kafkatx.Client, q replay.Query) (writer, error) {
					out := bufio.NewWriter(call.Out)
					text := replay.Text{W: out, By: q.By, Values: *values}
					return &stream{flushes: []func() error{out.Flush}, record: func(rec kafkatx.Record) error {
						if err := text.Write(rec); err != nil || flags.speed == 0 {
							return err
						}
						return out.Flush() // somebody watches
					}}, nil
				})
			}
		},
	}
}

func exportCommand() service.Command[config] {
	return service.Command[config]{
		Synopsis: "NDJSON: the value of each record on a line",
		Help:     "Example: replay export -topic raw.exchange -from 7d -out week.ndjson.gz",
		Setup: func(fs *flag.FlagSet) service.Action[config] {
			var flags queryFlags
			flags.register(fs)
			path := fs.String("out", "-", "`file` to write, which must not exist yet; .gz is compressed; - is standard output")
			envelope := fs.Bool("envelope", false, "write an object with topic, partition, offset, time, key, headers and value")
			return func(ctx context.Context, call service.Call[config]) error {
				return run(ctx, call, &flags, func(context.Context, *kafkatx.Client, replay.Query) (writer, error) {
					return exportTo(*path, *envelope, call.Out)
				})
			}
		},
	}
}

func exportTo(path string, envelope bool, stdout io.Writer) (writer, error) {
	s := &stream{}
	out := stdout
	if path != "-" {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) // audit data is nobody else's business
		if errors.Is(err, os.ErrExist) {
			return nil, fmt.Errorf("%s exists already: choose another name or remove it", path)
		}
		if err != nil {
			return nil, err
		}
		out = f
		s.flushes, s.closes = append(s.flushes, f.Sync), append(s.closes, f.Close)
	}
	if strings.HasSuffix(path, ".gz") {
		zip := gzip.NewWriter(out)
		out = zip
		s.flushes = append([]func() error{zip.Close}, s.flushes...)
	}
	buffered := bufio.NewWriterSize(out, 256<<10)
	s.flushes = append([]func() error{buffered.Flush}, s.flushes...)
	s.record = replay.Lines{W: buffered, Envelope: envelope}.Write
	return s, nil
}

func copyCommand() service.Command[config] {
	return service.Command[config]{
		Synopsis: "write the records to another topic, with the header " + replay.HeaderOrigin,
		Help:     "Example: replay copy -topic enriched.entra -from 2026-03-02 -to 2026-03-03 -into investigation-7\nIf it ends early, whole transactions of up to 1,000 records are there.",
		Setup: func(fs *flag.FlagSet) service.Action[config] {
			var flags queryFlags
			flags.register(fs)
			into := fs.String("into", "", "`topic` to write to; created with as many partitions as the largest topic read")
			live := fs.Bool("into-live-topic", false, "allow a topic of the pipeline itself; its readers will see every replayed record again")
			return func(ctx context.Context, call service.Call[config]) error {
				if *into == "" {
					return service.Usagef("-into: name the topic to write to")
				}
				if replay.Live(call.Config.Kafka.Names(), *into) && !*live {
					return service.Usagef("-into: %s belongs to the pipeline: its readers would see the replayed records again. Choose a name that does not begin with %s.", *into, call.Config.Kafka.Prefix)
				}
				return run(ctx, call, &flags, func(ctx context.Context, c *kafkatx.Client, q replay.Query) (writer, error) {
					return copyTo(ctx, c, q, call.Config.Kafka, *into)
				})
			}
		},
	}
}

// target is a Copy as a writer.
type target struct{ *replay.Copy }

func (t target) write(ctx context.Context, rec kafkatx.Record) error { return t.Write(ctx, rec) }
func (t target) flush(ctx context.Context) error                     { return t.Flush(ctx) }
func (t target) close() error                                        { return nil }

func copyTo(ctx context.Context, c *kafkatx.Client, q replay.Query, k wire.Kafka, topic string) (writer, error) {
	partitions, err := c.Partitions(ctx, topic)
	if err != nil {
		if partitions, err = createTopic(ctx, c, q, k, topic); err != nil {
			return nil, err
		}
	}
	producer, err := c.NewProducer(kafkatx.ProducerConfig{TransactionalID: k.Prefix + ".replay." + topic, Codec: k.Codec})
	if err != nil {
		return nil, err
	}
	into, err := replay.NewCopy(ctx, producer, topic, partitions)
	if err != nil {
		return nil, err
	}
	return target{into}, nil
}

func createTopic(ctx context.Context, c *kafkatx.Client, q replay.Query, k wire.Kafka, topic string) (partitions int, err error) {
	for _, source := range q.Topics {
		n, err := c.Partitions(ctx, source)
		if err != nil {
			return 0, fmt.Errorf("topic %s: %w", source, err)
		}
		partitions = max(partitions, n)
	}
	spec := kafkatx.TopicSpec{
		Name: topic, Partitions: partitions, Replication: k.Replication,
		Configs: map[string]string{"max.message.bytes": fmt.Sprint(wire.MaxEvent + 1<<20), "retention.ms": fmt.Sprint(k.Topics.EnrichedRetention.Milliseconds())},
	}
	if _, err := c.EnsureTopics(ctx, []kafkatx.TopicSpec{spec}, true); err != nil {
		return 0, fmt.Errorf("create topic %s: %w", topic, err)
	}
	return partitions, nil
}
