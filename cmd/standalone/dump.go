package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/proof"
	"millrace/pkg/wire"
)

// dumped is one line of a dump with headers.
type dumped struct {
	Partition int32             `json:"partition"`
	Offset    int64             `json:"offset"`
	Key       string            `json:"key"`
	Headers   map[string]string `json:"headers"`
	Value     json.RawMessage   `json:"value"`
}

// dump writes the committed records of each topic that carries JSON to one file a topic, one line a record.
func dump(ctx context.Context, dir string, brokers []string, names wire.Names, headers bool) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("dump folder: %w", err)
	}
	topics := append(append(names.RawAll(), names.EventsAll()...), names.EnrichedAll()...)
	topics = append(topics, names.DeadLetter(false), names.DeadLetter(true), names.Ledger(), names.Directory(),
		names.Checkpoints(), names.Status())
	for _, topic := range topics {
		if err := dumpTopic(ctx, filepath.Join(dir, topic+".ndjson"), brokers, topic, headers); err != nil {
			return fmt.Errorf("dump %s: %w", topic, err)
		}
	}
	return nil
}

func dumpTopic(ctx context.Context, path string, brokers []string, topic string, headers bool) (err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	out := bufio.NewWriterSize(f, 1<<20)
	err = proof.Read(ctx, brokers, []string{topic}, func(r *kgo.Record) error {
		line, err := dumpLine(r, headers)
		if err != nil {
			return err
		}
		_, err = out.Write(append(line, '\n'))
		return err
	})
	return errors.Join(err, out.Flush())
}

// dumpLine is the value; one that is not JSON, as on a dead-letter topic, is written as a JSON string, so that each line is JSON.
func dumpLine(r *kgo.Record, headers bool) ([]byte, error) {
	value := json.RawMessage(r.Value)
	if r.Value == nil {
		value = json.RawMessage("null")
	} else if !json.Valid(r.Value) {
		text, err := json.Marshal(string(r.Value))
		if err != nil {
			return nil, err
		}
		value = text
	}
	if !headers {
		return value, nil
	}
	d := dumped{Partition: r.Partition, Offset: r.Offset, Key: string(r.Key), Headers: map[string]string{}, Value: value}
	for _, h := range r.Headers {
		d.Headers[h.Key] = string(h.Value)
	}
	return json.Marshal(d)
}
