package m365sim

import (
	"slices"
	"sync"
	"time"

	"millrace/internal/m365sim/tenant"
)

// subscription is the switch of one content type for one app in one tenant.
type subscription struct {
	enabled bool
	started time.Time // the last start or change
	since   time.Time // when it was switched on
	spans   []span    // creation times of the content that it sees; the last one is open while it is enabled
	hook    *webhook
}

type span struct{ from, to time.Time }

// subscriptionState is a subscription in a compacted journal; its webhook is beside it.
type subscriptionState struct {
	Enabled bool        `json:"enabled"`
	Started time.Time   `json:"started"`
	Since   time.Time   `json:"since"`
	Spans   []spanState `json:"spans"`
}

type spanState struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to,omitzero"`
}

// sees reports whether content created at a time is in the subscription's view.
func (s *subscription) sees(created time.Time) bool {
	for _, p := range s.spans {
		if !created.Before(p.from) && (p.to.IsZero() || created.Before(p.to)) {
			return true
		}
	}
	return false
}

type subKey struct{ tenant, app, contentType string }

type subscriptions struct {
	mu sync.Mutex // guards all
	m  map[subKey]*subscription
}

func newSubscriptions() *subscriptions { return &subscriptions{m: map[subKey]*subscription{}} }

// get returns a copy of the subscription, or false when it was never started.
func (s *subscriptions) get(k subKey) (subscription, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sub := s.m[k]; sub != nil {
		return *sub, true
	}
	return subscription{}, false
}

// apply brings the table to the state after an event; the journal is replayed through the same code that serves requests.
func (s *subscriptions) apply(e event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := subKey{e.Tenant, e.App, e.ContentType}
	old := s.m[k]
	next := subscription{}
	if old != nil {
		next = *old
	}
	switch e.Kind {
	case eventStart:
		next.started = e.At
		if !next.enabled {
			next.enabled, next.since = true, e.At
			next.spans = append(slices.Clip(next.spans), span{from: e.From})
		}
		next.hook = e.Webhook
	case eventStop:
		next.enabled, next.hook = false, nil
		if n := len(next.spans); n > 0 {
			next.spans = append([]span(nil), next.spans...)
			next.spans[n-1].to = e.At
		}
	case eventWebhook:
		next.hook = e.Webhook
	case eventSubscription:
		if e.Subscription == nil {
			return
		}
		next = subscription{enabled: e.Subscription.Enabled, started: e.Subscription.Started, since: e.Subscription.Since, hook: e.Webhook}
		for _, p := range e.Subscription.Spans {
			next.spans = append(next.spans, span{from: p.From, to: p.To})
		}
	default:
		return
	}
	s.m[k] = &next
}

// each calls fn with a copy of every subscription.
func (s *subscriptions) each(fn func(subKey, subscription)) {
	s.mu.Lock()
	copies := make(map[subKey]subscription, len(s.m))
	for k, v := range s.m {
		copies[k] = *v
	}
	s.mu.Unlock()
	for k, v := range copies {
		fn(k, v)
	}
}

// record journals an event about a subscription and applies it: what is on disk is never behind what clients were told.
func (s *Server) record(e event) error {
	if err := s.journal.write(e); err != nil {
		return err
	}
	s.subs.apply(e)
	return nil
}

// subscribeAll gives every app subscriptions that are a week old, except where the journal knows better.
func (s *Server) subscribeAll() error {
	for id, t := range s.tenants {
		from := t.Config().Origin.Add(-7 * 24 * time.Hour)
		for app := range s.apps {
			for _, ct := range tenant.ContentTypes() {
				if _, ok := s.subs.get(subKey{id, app, ct}); ok {
					continue
				}
				if err := s.record(event{Kind: eventStart, At: from, From: from, Tenant: id, App: app, ContentType: ct}); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
