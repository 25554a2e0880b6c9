package app

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"millrace/internal/service"
	"millrace/pkg/kafkatx"
	"millrace/pkg/wire"
)

type ackOptions struct {
	tenant    string
	ids       []string
	all, json bool
	note      string
}

// maxNote bounds the text of an acknowledgement.
const maxNote = 1000

// ackGaps lists open gaps, or acknowledges those that are chosen: each one's removal from the status topic and its entry on the ledger are in
// one transaction.
func ackGaps(ctx context.Context, cfg Config, rt service.Runtime, opts ackOptions, w io.Writer) error {
	if len(opts.note) > maxNote {
		return service.Usagef("ack-gap: -note is longer than %d bytes", maxNote)
	}
	client, err := dial(ctx, cfg, "ack", rt)
	if err != nil {
		return err
	}
	defer client.Close()
	names := cfg.Kafka.Names()
	found, err := readStatusFrom(ctx, client, names.Status(), rt)
	if err != nil {
		return err
	}
	open := slices.DeleteFunc(found.gaps, func(g openGap) bool { return opts.tenant != "" && !strings.EqualFold(g.Tenant, opts.tenant) })
	if !opts.all && len(opts.ids) == 0 {
		return listGaps(w, open, opts.json)
	}
	chosen := open
	if !opts.all {
		if chosen, err = choose(open, opts.ids); err != nil {
			return err
		}
	}
	if err := acknowledge(ctx, client, names, cfg.Kafka.ControlPartitions, chosen, opts.note); err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%d gaps acknowledged\n", len(chosen))
	return err
}

func choose(open []openGap, ids []string) ([]openGap, error) {
	var chosen []openGap
	for _, id := range ids {
		i := slices.IndexFunc(open, func(g openGap) bool { return g.id() == id })
		if i < 0 {
			return nil, service.Usagef("ack-gap: no open gap has the id %s: ack-gap without arguments lists them", id)
		}
		chosen = append(chosen, open[i])
	}
	return chosen, nil
}

func acknowledge(ctx context.Context, client *kafkatx.Client, names wire.Names, control int, gaps []openGap, note string) error {
	if len(gaps) == 0 {
		return nil
	}
	// The id begins as those of the ingester's owners do, so that its rights suffice. Two of these commands at a time fence each other.
	p, err := client.NewProducer(kafkatx.ProducerConfig{TransactionalID: names.Prefix + "." + wire.StageIngester + ".ack-gap"})
	if err != nil {
		return err
	}
	if err := p.Init(ctx); err != nil {
		return fmt.Errorf("acknowledge: %w", err)
	}
	now := time.Now().UTC()
	for part := range slices.Chunk(gaps, 500) {
		var recs []kafkatx.Record
		for _, g := range part {
			value, err := json.Marshal(wire.LedgerEntry{
				Kind: wire.LedgerKindAck, Tenant: g.Tenant, Source: g.Source, ContentType: g.ContentType, Gap: &g.Gap, Ack: &wire.Ack{At: now, Note: note},
			})
			if err != nil {
				return fmt.Errorf("acknowledge: %w", err)
			}
			recs = append(recs,
				kafkatx.Record{
					Topic: names.Ledger(), Partition: kafkatx.Partition([]byte(g.Tenant), control), Key: []byte(g.Tenant + "/" + g.Source), Value: value,
				},
				kafkatx.Record{Topic: names.Status(), Key: []byte(g.key)})
		}
		if _, err := p.Produce(ctx, recs); err != nil {
			return fmt.Errorf("acknowledge: %w", err)
		}
		if err := p.Commit(ctx); err != nil {
			return fmt.Errorf("acknowledge: %w", err)
		}
	}
	return nil
}

func listGaps(w io.Writer, gaps []openGap, asJSON bool) error {
	if !asJSON {
		return table(w, "ID TENANT COMPONENT REASON FROM TO BLOB", gaps, func(g openGap) []string {
			return []string{g.id(), g.Tenant, g.Source, g.Gap.Reason, g.Gap.Start.Format(time.RFC3339), g.Gap.End.Format(time.RFC3339), g.Gap.ContentID}
		})
	}
	type named struct {
		ID string `json:"id"`
		wire.OpenGap
	}
	rows := make([]named, len(gaps))
	for i, g := range gaps {
		rows[i] = named{g.id(), g.OpenGap}
	}
	return jsonLines(w, rows)
}
