package app

import (
	"context"
	"fmt"
	"net"

	"github.com/prometheus/client_golang/prometheus"

	"millrace/ingester/internal/source"
	"millrace/ingester/internal/webhook"
	"millrace/pkg/m365"
)

// hooks is the webhook receiver of a running ingester; nil = there is none.
type hooks struct {
	receiver *webhook.Receiver
	listener net.Listener
}

// newHooks opens the listener. A notification that a replica gets for a tenant of another one is no hint to anybody: polling is complete.
func newHooks(ctx context.Context, cfg Webhook, sources *source.Sources, reg prometheus.Registerer) (*hooks, error) {
	if cfg.Address == "" {
		return nil, nil //nolint:nilnil // no webhook is configured
	}
	path, err := cfg.path()
	if err != nil {
		return nil, err
	}
	h := &hooks{}
	h.receiver, err = webhook.New(webhook.Config{Path: path, AuthID: cfg.AuthID.Reveal, API: sources.API, Hint: sources.Hint, Registerer: reg})
	if err != nil {
		return nil, err
	}
	h.listener, err = new(net.ListenConfig).Listen(ctx, "tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("webhook.listen: %w: choose an address of this machine that is free", err)
	}
	return h, nil
}

// webhookOf makes what subscriptions are started with.
func webhookOf(cfg Webhook) func() *m365.Webhook {
	if cfg.Address == "" {
		return nil
	}
	return func() *m365.Webhook {
		id, err := cfg.AuthID.Reveal()
		if err != nil {
			return nil // it cannot be checked then, either
		}
		return &m365.Webhook{Address: cfg.Address, AuthID: id}
	}
}
