package m365sim

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
)

// webhook is a push address of a subscription.
type webhook struct {
	Address    string    `json:"address"`
	AuthID     string    `json:"authId"`
	Expiration time.Time `json:"expiration,omitzero"`
	Disabled   bool      `json:"disabled,omitempty"`
}

func (h *webhook) status(now time.Time) string {
	switch {
	case h.Disabled:
		return "disabled"
	case !h.Expiration.IsZero() && !now.Before(h.Expiration):
		return "expired"
	}
	return "enabled"
}

// wantedWebhook reads the body of a start request: the webhook that the subscription is to have, and whether that is a change.
// No body, or one without a webhook, leaves the webhook as it is; null removes it.
func (s *Server) wantedWebhook(c *call, body []byte, old subscription) (*webhook, bool, error) {
	if len(bytes.TrimSpace(body)) == 0 {
		return old.hook, false, nil
	}
	var in struct {
		Webhook json.RawMessage `json:"webhook"`
	}
	if err := decodeStrict(body, &in); err != nil {
		return nil, false, errType("webhook", "object")
	}
	if len(in.Webhook) == 0 {
		return old.hook, false, nil
	}
	if string(in.Webhook) == "null" {
		return nil, old.hook != nil, nil
	}
	hook, err := parseWebhook(in.Webhook, c.now)
	if err != nil {
		return nil, false, err
	}
	if old.hook != nil && *old.hook == *hook && old.hook.status(c.now) == "enabled" {
		return old.hook, false, nil
	}
	if !s.cfg.SkipWebhookValidation {
		if err := s.validateWebhook(c.r.Context(), hook); err != nil {
			return nil, false, errWebhook(printable(hook.Address), "The endpoint did not return HTTP 200.")
		}
	}
	return hook, true, nil
}

func parseWebhook(text []byte, now time.Time) (*webhook, error) {
	var in struct {
		Address    string  `json:"address"`
		AuthID     string  `json:"authId"`
		Expiration *string `json:"expiration"`
	}
	if err := json.Unmarshal(text, &in); err != nil {
		return nil, errType("webhook", "object")
	}
	if in.Address == "" {
		return nil, errMissing("address")
	}
	if !strings.HasPrefix(strings.ToLower(in.Address), "https://") {
		return nil, errWebhook(printable(in.Address), "The address must begin with HTTPS.")
	}
	hook := &webhook{Address: in.Address, AuthID: in.AuthID}
	if in.Expiration != nil && *in.Expiration != "" {
		at, ok := parseTime(*in.Expiration)
		if !ok {
			return nil, errType("expiration", "datetime")
		}
		if !at.After(now) {
			return nil, errPast(printable(*in.Expiration))
		}
		hook.Expiration = at
	}
	return hook, nil
}

// validateWebhook sends the validation request: the code is in a header and in the body.
func (s *Server) validateWebhook(ctx context.Context, h *webhook) error {
	code := uuid.NewString()
	return s.post(ctx, h, []byte(`{"validationCode":"`+code+`"}`), code)
}

func (s *Server) post(ctx context.Context, h *webhook, body []byte, code string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.Address, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	if h.AuthID != "" {
		req.Header.Set("Webhook-AuthID", h.AuthID)
	}
	if code != "" {
		req.Header.Set("Webhook-ValidationCode", code)
	}
	resp, err := s.cfg.WebhookClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<16)) // the body is ignored; reading it keeps the connection
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("webhook answered %d", resp.StatusCode)
	}
	return nil
}

const (
	webhookTick    = time.Second
	webhookBatch   = 50
	webhookMemory  = 10 * time.Minute
	webhookBackoff = 2 * time.Second
	maxBackoff     = 10 * time.Minute
)

// webhooks pushes notifications. One goroutine owns the deliveries.
type webhooks struct {
	s *Server
	loop

	mu   sync.Mutex // guards tries
	sent map[subKey]map[string]int
}

// delivery is where one webhook stands.
type delivery struct {
	since    time.Time // blobs that became visible before this have been sent
	failures int
	next     time.Time
}

func newWebhooks(s *Server) *webhooks {
	return &webhooks{s: s, sent: map[subKey]map[string]int{}}
}

// attempts is how often the blob was pushed to the webhook of a subscription.
func (h *webhooks) attempts(k subKey, contentID string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.sent[k][contentID]
}

func (h *webhooks) run(ctx context.Context) {
	tick := time.NewTicker(webhookTick)
	defer tick.Stop()
	state := map[subKey]*delivery{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		h.s.subs.each(func(k subKey, sub subscription) {
			now := h.s.now()
			if !sub.enabled || sub.hook == nil || sub.hook.status(now) != "enabled" || h.s.tenants[k.tenant] == nil {
				delete(state, k)
				return
			}
			d := state[k]
			if d == nil {
				d = &delivery{since: now.Add(-webhookMemory)} // after a restart some notifications come again, as real ones do
				if sub.started.After(d.since) {
					d.since = sub.started
				}
				state[k] = d
			}
			if !now.Before(d.next) {
				h.deliver(ctx, k, sub, d, now)
			}
		})
	}
}

type notification struct {
	TenantID          string `json:"tenantId"`
	ClientID          string `json:"clientId"`
	ContentType       string `json:"contentType"`
	ContentID         string `json:"contentId"`
	ContentURI        string `json:"contentUri"`
	ContentCreated    string `json:"contentCreated"`
	ContentExpiration string `json:"contentExpiration"`
}

// deliver pushes what became visible since the last success, and disables the webhook after too many failures in a row.
func (h *webhooks) deliver(ctx context.Context, k subKey, sub subscription, d *delivery, now time.Time) {
	t := h.s.tenants[k.tenant]
	var batch []notification
	for b := range t.Each(k.contentType, d.since.Add(-2*time.Hour), now, now) {
		if b.Visible.Before(d.since) || !sub.sees(b.Created) || len(batch) == webhookBatch && b.Visible.After(d.since) {
			continue
		}
		batch = append(batch, notification{
			TenantID: k.tenant, ClientID: k.app, ContentType: k.contentType, ContentID: b.ContentID,
			ContentURI:     h.s.URL() + "/api/v1.0/" + k.tenant + "/activity/feed/audit/" + b.ContentID,
			ContentCreated: b.Created.Format(envelopeTime), ContentExpiration: b.Expiration.Format(envelopeTime),
		})
	}
	if len(batch) == 0 {
		d.since = now
		return
	}
	h.count(k, batch)
	body, err := json.Marshal(batch)
	if err == nil {
		err = h.s.post(ctx, sub.hook, body, "")
	}
	if err == nil {
		d.since, d.failures = now, 0
		return
	}
	d.failures++
	d.next = now.Add(min(webhookBackoff<<min(d.failures, 20), maxBackoff))
	if d.failures >= h.s.cfg.WebhookFailures && ctx.Err() == nil {
		off := *sub.hook
		off.Disabled = true
		if err := h.s.record(event{Kind: eventWebhook, At: now, Tenant: k.tenant, App: k.app, ContentType: k.contentType, Webhook: &off}); err != nil {
			h.s.log.Error("simulator cannot keep the state of a webhook", "err", err)
		}
	}
}

// forget drops the attempts for blobs that have expired.
func (h *webhooks) forget(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for k, sent := range h.sent {
		for id := range sent {
			if now.Sub(h.s.tenants[k.tenant].Expiration(id)) > foldAfter {
				delete(sent, id)
			}
		}
	}
}

func (h *webhooks) count(k subKey, batch []notification) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.sent[k] == nil {
		h.sent[k] = map[string]int{}
	}
	for _, n := range batch {
		h.sent[k][n.ContentID]++
	}
}
