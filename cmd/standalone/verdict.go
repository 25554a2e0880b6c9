package main

import (
	"context"
	"fmt"
	"io"

	"millrace/internal/proof"
	normalizer "millrace/normalizer/app"
)

// verdict compares what the source has with what lies on the topics, prints it, and dumps the topics if that was asked for.
func (w *world) verdict(ctx context.Context, out io.Writer) (bool, error) {
	if w.opt.tamper != "" {
		if err := tamper(ctx, w.opt.tamper, w.kafka.Brokers, w.kafka.Names()); err != nil {
			return false, err
		}
	}
	_, _ = fmt.Fprintln(out, "comparing the topics with the source, record by record …")
	report, err := w.prove(ctx)
	if err != nil {
		return false, err
	}
	if err := report.Write(out); err != nil {
		return false, err
	}
	if w.opt.dump != "" {
		if err := dump(ctx, w.opt.dump, w.kafka.Brokers, w.kafka.Names(), w.opt.dumpHeaders); err != nil {
			return false, err
		}
		_, _ = fmt.Fprintf(out, "topics are in %s\n", w.opt.dump)
	}
	return report.Holds(), nil
}

func (w *world) prove(ctx context.Context) (*proof.Report, error) {
	mapRecord, err := normalizer.NewMap(normalizer.DefaultConfig())
	if err != nil {
		return nil, err
	}
	cfg := proof.Config{Brokers: w.kafka.Brokers, Names: w.kafka.Names(), Map: mapRecord}
	if len(w.opt.imports) > 0 {
		cfg.Source, cfg.ByContent = w.exported, true
	} else {
		cfg.Source = proof.Feed(w.tenant)
	}
	return proof.Run(ctx, cfg)
}
