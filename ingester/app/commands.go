package app

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"
	"time"

	"millrace/ingester/internal/source"
	"millrace/internal/service"
	"millrace/pkg/audit"
)

// stopCommand is `ingester stop-subscription`, the only thing that ever stops one.
func stopCommand() service.Command[Config] {
	return service.Command[Config]{
		Synopsis: "stop a subscription at Microsoft; what it makes until the next start is lost",
		Help: "A running ingester starts a subscription again that it is configured for: take the content type out of its configuration first.\n" +
			"Nothing else ever stops a subscription.",
		Setup: func(fs *flag.FlagSet) service.Action[Config] {
			tenant := fs.String("tenant", "", "directory `id`, one of the configuration")
			ct := fs.String("content-type", "", "`type`, for example Audit.General")
			sure := fs.Bool("yes", false, "yes, content until the next start shall be lost")
			return func(ctx context.Context, call service.Call[Config]) error {
				if !*sure {
					return service.Usagef("stop-subscription: what Microsoft makes until the next start is lost: say -yes if that is wanted")
				}
				if err := stopSubscription(ctx, call.Config, *tenant, audit.ContentType(*ct)); err != nil {
					return err
				}
				_, err := fmt.Fprintf(call.Out, "%s of %s is stopped\n", *ct, *tenant)
				return err
			}
		},
	}
}

// ackCommand is `ingester ack-gap`.
func ackCommand() service.Command[Config] {
	return service.Command[Config]{
		Synopsis: "list the gaps that nobody has acknowledged, or acknowledge some",
		Args:     "[GAP…]",
		Help: "Without arguments it lists the open gaps with their ids. With ids, or -all, it acknowledges them: the gap leaves the status and the metric, and\n" +
			"the ledger keeps gap and acknowledgement. Acknowledging brings nothing back: export the window from Purview and `ingester import` it first.",
		Validate: func(c Config) error { return c.Kafka.Validate() },
		Setup: func(fs *flag.FlagSet) service.Action[Config] {
			var opts ackOptions
			fs.StringVar(&opts.tenant, "tenant", "", "directory `id`; empty = all tenants")
			fs.BoolVar(&opts.all, "all", false, "acknowledge all open gaps (of the tenant)")
			fs.StringVar(&opts.note, "note", "", "`text` that the ledger keeps, for example the number of a ticket")
			fs.BoolVar(&opts.json, "json", false, "one JSON object a gap")
			return func(ctx context.Context, call service.Call[Config]) error {
				opts.ids = call.Args
				return ackGaps(ctx, call.Config, call.Runtime, opts, call.Out)
			}
		},
	}
}

// importCommand is `ingester import FILE…`.
func importCommand() service.Command[Config] {
	return service.Command[Config]{
		Synopsis: "carry exported audit records from files to the import topic",
		Args:     "FILE…",
		Help: "Reads Purview CSV exports (column AuditData), Search-UnifiedAuditLog results as JSON, JSON arrays of records and one JSON record a line,\n" +
			"each also gzipped. The same content imported again adds nothing; a file that was repaired or grew goes on where it was good.\n" +
			"A row that is no record becomes a dead letter that names file and row.",
		Validate: func(c Config) error { return c.Kafka.Validate() },
		Setup: func(fs *flag.FlagSet) service.Action[Config] {
			tenant := fs.String("tenant", "", "directory `id` that the records are of (default: the OrganizationId of each file's first record)")
			quiet := fs.Bool("quiet", false, "print no progress")
			return func(ctx context.Context, call service.Call[Config]) error {
				if len(call.Args) == 0 {
					return service.Usagef("import: name at least one file")
				}
				opts := ImportOptions{Files: call.Args, Tenant: *tenant}
				if !*quiet {
					opts.Progress = printer(call.Err)
				}
				p, err := Import(ctx, call.Config, call.Runtime, opts)
				_, werr := fmt.Fprintf(call.Out, "%d of %d files, %d rows: %d records imported, %d known already, %d dead letters\n",
					p.Done, p.Files, p.Rows, p.Records, p.Known, p.Bad)
				return errors.Join(err, werr)
			}
		},
	}
}

// statusCommand is `ingester status`.
func statusCommand() service.Command[Config] {
	return service.Command[Config]{
		Synopsis: "print the state of every connector, as the status topic has it",
		Help: "The row `connector` sums up a tenant. Exit code 1 if a component needs an operator or is disconnected.\n" +
			"Gaps are those that no operator has acknowledged: `ingester ack-gap` lists them.",
		Validate: func(c Config) error { return c.Kafka.Validate() },
		Setup: func(fs *flag.FlagSet) service.Action[Config] {
			asJSON := fs.Bool("json", false, "one JSON object a component")
			return func(ctx context.Context, call service.Call[Config]) error {
				known, err := readStatus(ctx, call.Config, call.Runtime)
				if err != nil {
					return err
				}
				return known.print(call.Out, *asJSON, time.Now())
			}
		},
	}
}

// verifyCommand is `ingester verify`.
func verifyCommand() service.Command[Config] {
	return service.Command[Config]{
		Synopsis: "prove from the topics alone that a tenant's blobs of a range are on raw with the right bytes",
		Help: "Reads checkpoints, ledger, raw and dead-letter topics; it asks Microsoft nothing and changes nothing, and may run beside everything else.\n" +
			"The range is of blob creation. With -to each stream has to be through with the range. A gap counts until `ingester ack-gap` has acknowledged it.\n" +
			"Exit code 0 only if every blob of the range is complete, 1 if not.",
		Validate: func(c Config) error { return c.Kafka.Validate() },
		Setup: func(fs *flag.FlagSet) service.Action[Config] {
			opts := VerifyOptions{}
			fs.StringVar(&opts.Tenant, "tenant", "", "directory `id`")
			fs.Func("from", "begin of the range, `time` as 2026-01-31T00:00:00Z (default 7 days ago)", moment(&opts.From))
			fs.Func("to", "end of the range, `time` (default now)", moment(&opts.To))
			asJSON := fs.Bool("json", false, "one JSON object")
			quiet := fs.Bool("quiet", false, "print no progress")
			return func(ctx context.Context, call service.Call[Config]) error {
				if !*quiet {
					opts.Progress = verifyProgress(call.Err)
				}
				report, err := Verify(ctx, call.Config, call.Runtime, opts)
				if err != nil {
					return err
				}
				if err := printReport(call.Out, report, *asJSON); err != nil {
					return err
				}
				if !report.Complete {
					return service.ErrReported
				}
				return nil
			}
		},
	}
}

// moment parses a time for a flag.
func moment(into *time.Time) func(string) error {
	return func(s string) error {
		t, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t, err = time.Parse(time.DateOnly, s)
		}
		if err != nil {
			return fmt.Errorf("%q is no time: write 2026-01-31T00:00:00Z or 2026-01-31", s)
		}
		*into = t
		return nil
	}
}

func stopSubscription(ctx context.Context, cfg Config, tenant string, ct audit.ContentType) error {
	if ct.Source() == "" {
		return service.Usagef("stop-subscription: -content-type %q is not known", ct)
	}
	for _, t := range cfg.Tenants {
		if !strings.EqualFold(t.ID, tenant) {
			continue
		}
		pools := transports{}
		defer pools.close()
		c, err := t.connect(cfg.Limits, nil, pools)
		if err != nil {
			return err
		}
		if c.feed == nil {
			return service.Usagef("stop-subscription: tenant %q is paused and has no credential to call Microsoft with", tenant)
		}
		if err := c.feed.Stop(ctx, ct); err != nil {
			return fmt.Errorf("%s: %s", reading(err), source.RemedyOf(err))
		}
		return nil
	}
	return service.Usagef("stop-subscription: tenant %q is not in the configuration", tenant)
}
