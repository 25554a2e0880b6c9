package app

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"millrace/internal/service"
	"millrace/pkg/audit"
	"millrace/pkg/kafkatx"
	"millrace/pkg/m365"
	"millrace/pkg/wire"
)

// statusCommand is `ingester status`.
func statusCommand() service.Command[Config] {
	return service.Command[Config]{
		Synopsis: "print the state of every connector, as the status topic has it",
		Help:     "Exit code 1 if a component needs an operator or is disconnected.",
		Validate: func(c Config) error { return c.Kafka.Validate() },
		Setup: func(fs *flag.FlagSet) service.Action[Config] {
			asJSON := fs.Bool("json", false, "one JSON object a component")
			return func(ctx context.Context, call service.Call[Config]) error {
				states, err := readStatus(ctx, call.Config, call.Runtime)
				if err != nil {
					return err
				}
				return printStatus(call.Out, states, *asJSON, time.Now())
			}
		},
	}
}

// readStatus reads the status topic to its end.
func readStatus(ctx context.Context, cfg Config, rt service.Runtime) ([]wire.Status, error) {
	client, err := cfg.Kafka.Client("status", rt.Log, nil)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	if err := ping(ctx, client); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	reading, done := context.WithCancel(ctx)
	defer done()
	states := make(map[string]wire.Status)
	err = client.Tail(reading, cfg.Kafka.Names().Status(), func(r kafkatx.Record) error {
		key := string(r.Key)
		if strings.HasPrefix(key, "stage:") {
			return nil
		}
		delete(states, key)
		if r.Value == nil {
			return nil
		}
		var s wire.Status
		if err := json.Unmarshal(r.Value, &s); err != nil {
			rt.Log.Warn("a value on the status topic is not understood", "offset", r.Offset, "err", err)
			return nil
		}
		states[key] = s
		return nil
	}, done)
	if err != nil && (ctx.Err() != nil || reading.Err() == nil) {
		return nil, fmt.Errorf("read the status topic: %w", err)
	}
	out := make([]wire.Status, 0, len(states))
	for _, key := range slices.Sorted(maps.Keys(states)) {
		out = append(out, states[key])
	}
	return out, nil
}

func printStatus(w io.Writer, states []wire.Status, asJSON bool, now time.Time) error {
	bad := false
	for _, s := range states {
		bad = bad || s.State == wire.StateActionRequired || s.State == wire.StateDisconnected
	}
	if asJSON {
		enc := json.NewEncoder(w)
		for _, s := range states {
			if err := enc.Encode(s); err != nil {
				return err
			}
		}
	} else if err := statusTable(w, states, now); err != nil {
		return err
	}
	if bad {
		return service.ErrReported
	}
	return nil
}

func statusTable(w io.Writer, states []wire.Status, now time.Time) error {
	tw := tabwriter.NewWriter(w, 2, 8, 2, ' ', 0)
	_, _ = fmt.Fprintln(tw, "TENANT\tCOMPONENT\tSTATE\tFOR\tLAG\tOPEN\tGAPS\tCODE\tREMEDY") // errors surface at Flush
	for _, s := range states {
		lag := "-"
		if !s.Cursor.IsZero() {
			lag = max(0, s.At.Sub(s.Cursor)).Round(time.Second).String()
		}
		_, _ = fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%d\t%d\t%s\t%s\n", s.Tenant, s.Component, s.State, now.Sub(s.Since).Round(time.Second), lag,
			s.Open, s.Gaps, s.Code, s.Remedy)
	}
	return tw.Flush()
}

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

func stopSubscription(ctx context.Context, cfg Config, tenant string, ct audit.ContentType) error {
	if ct.Source() == "" {
		return service.Usagef("stop-subscription: -content-type %q is not known", ct)
	}
	for _, t := range cfg.Tenants {
		if !strings.EqualFold(t.ID, tenant) {
			continue
		}
		c, err := t.connect(cfg.Limits, nil)
		if err != nil {
			return err
		}
		if err := c.feed.Stop(ctx, ct); err != nil {
			return errors.Join(err, errors.New(m365.RemedyOf(err)))
		}
		return nil
	}
	return service.Usagef("stop-subscription: tenant %q is not in the configuration", tenant)
}
