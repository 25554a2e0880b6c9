package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/proof"
	"millrace/pkg/wire"
)

// tamper damages one record on the broker between the run and the proof, to show that the proof can fail. what is
// raw|event|enriched, a colon, and drop|repeat|alter.
func tamper(ctx context.Context, what string, brokers []string, names wire.Names) error {
	where, how, _ := strings.Cut(what, ":")
	topics := map[string][]string{"raw": names.RawAll(), "event": names.EventsAll(), "enriched": names.EnrichedAll()}[where]
	if topics == nil || how != "drop" && how != "repeat" && how != "alter" {
		return fmt.Errorf("-tamper %q: use raw, event or enriched, a colon, and drop, repeat or alter", what)
	}
	victim, err := firstRecord(ctx, brokers, topics)
	if err != nil {
		return err
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchMaxBytes(1<<20))
	if err != nil {
		return err
	}
	defer client.Close()
	if how != "repeat" {
		var below kadm.Offsets
		below.AddOffset(victim.Topic, victim.Partition, victim.Offset+1, -1)
		if _, err := kadm.NewClient(client).DeleteRecords(ctx, below); err != nil {
			return fmt.Errorf("tamper: drop the first record: %w", err)
		}
	}
	if how == "drop" {
		return nil
	}
	again := &kgo.Record{Topic: victim.Topic, Partition: victim.Partition, Key: victim.Key, Value: bytes.Clone(victim.Value), Headers: victim.Headers}
	if how == "alter" { // inside what a raw record and an event have from the vendor, not in what the enricher adds
		at := len(again.Value) / 3
		if _, before, ok := bytes.Cut(again.Value, []byte(`"original_event_uid":"`)); ok {
			at = len(again.Value) - len(before)
		}
		again.Value[at] ^= 1
	}
	return client.ProduceSync(ctx, again).FirstErr()
}

var errFound = errors.New("found")

// firstRecord finds a record that is the first of its partition, so that it can be dropped alone.
func firstRecord(ctx context.Context, brokers, topics []string) (*kgo.Record, error) {
	var first *kgo.Record
	for _, topic := range topics {
		err := proof.Read(ctx, brokers, []string{topic}, func(r *kgo.Record) error {
			first = r
			return errFound
		})
		if first != nil {
			return first, nil
		}
		if err != nil {
			return nil, err
		}
	}
	return nil, errors.New("tamper: there is no record")
}
