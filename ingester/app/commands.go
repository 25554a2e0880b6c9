package app

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"

	"millrace/internal/service"
	"millrace/pkg/audit"
	"millrace/pkg/m365"
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

func stopSubscription(ctx context.Context, cfg Config, tenant string, ct audit.ContentType) error {
	if ct.Source() == "" {
		return service.Usagef("stop-subscription: -content-type %q is not known", ct)
	}
	for _, t := range cfg.Tenants {
		if !strings.EqualFold(t.ID, tenant) {
			continue
		}
		c, err := t.connect(cfg.Limits, nil, transports{})
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
