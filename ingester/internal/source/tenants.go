package source

import (
	"context"
	"strings"
	"time"

	"millrace/ingester/internal/checkpoint"
	"millrace/pkg/audit"
	"millrace/pkg/wire"
)

// Remedies of what an operator has to put right in the configuration.
const (
	codeUnlisted   = "tenant_not_configured"
	remedyUnlisted = "this tenant has checkpoints and is in no list of tenants here, so nobody reads its feed, which is lost after 7 days: " +
		"add it to the configuration of every replica, or list it there with paused: true if that is wanted"
	codePaused       = "paused"
	remedyPaused     = "none: paused in the configuration; what Microsoft makes meanwhile is lost 7 days after it was made"
	codeNotWanted    = "not_configured"
	remedyNotWanted  = "none: the configuration of the tenant does not ask for it any more; its subscription is still on"
	codeListsDiffer  = "tenant_lists_differ"
	remedyListDiffer = "some replicas have this tenant in their configuration and some do not: give all replicas the same list"
)

// reconcile brings the running tenants in line with the list, if that has changed. It is called between two transactions: none of an ended
// tenant's units is in one, and its successor starts from what is committed.
func (o *owner) reconcile(ctx context.Context) {
	list, generation := o.s.list()
	if o.generation == generation {
		return
	}
	now := o.s.cfg.Now()
	o.mu.Lock()
	if o.generation == 0 {
		o.persist, o.forget, o.look = now.Add(persistEvery), now.Add(time.Minute), now
	}
	o.generation = generation
	o.mu.Unlock()
	wanted := make(map[audit.TenantID]*Tenant)
	for _, t := range list {
		if o.s.Number(t.ID) == o.number {
			wanted[t.ID] = t
		}
	}
	for id, t := range o.tenants {
		if wanted[id] != t.Tenant {
			t.stop()
		}
	}
	for id, t := range o.tenants {
		if wanted[id] != t.Tenant {
			o.endTenant(t)
			delete(o.tenants, id)
			t.log.Info("tenant ended by a change of the configuration")
		}
	}
	o.dropBystanders()
	for id, t := range wanted {
		if o.tenants[id] == nil {
			o.tenants[id] = o.startTenant(ctx, t)
		}
	}
	o.bystanders(wanted)
}

// startTenant starts everything that reads a tenant. The book is loaded.
func (o *owner) startTenant(ctx context.Context, cfg *Tenant) *tenant {
	ctx, stop := context.WithCancel(ctx)
	t := &tenant{Tenant: cfg, o: o, log: o.s.cfg.Log.With("tenant_id", string(cfg.ID)), recheck: make(chan struct{}, 1), stop: stop}
	t.queue.changed, t.queue.flying = make(chan struct{}, 1), &o.flying
	if cfg.Paused {
		return t // its streams are bystanders
	}
	now := o.s.cfg.Now()
	for _, ct := range cfg.ContentTypes {
		source := string(ct.Source())
		st := &stream{
			o: o, t: t, id: string(cfg.ID) + "/" + source, ct: ct, log: t.log.With("content_type", string(ct)),
			open: make(map[checkpoint.Hash]*blob), enabled: make(chan struct{}), nudge: make(chan struct{}, 1),
			status: newStatus(o.s, cfg.ID, source, now),
		}
		st.state = o.book.State(st.id)
		st.status.value.FirstSeen = parseSeen(st.state.Seen)
		t.streams = append(t.streams, st)
	}
	o.adopt(t.streams...)
	if len(t.streams) > 0 {
		t.wg.Go(func() { t.subscribe(ctx) })
		t.wg.Go(func() { t.dispatch(ctx) })
	}
	for _, st := range t.streams {
		t.wg.Go(func() { st.run(ctx) })
	}
	if cfg.Graph != nil {
		d := newDirectory(t, now)
		o.adopt(d.stream)
		t.wg.Go(func() { d.run(ctx) })
	}
	return t
}

// adopt makes streams part of the owner's status.
func (o *owner) adopt(streams ...*stream) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.streams = append(o.streams, streams...)
	for _, st := range streams {
		st.status.setGaps(o.s.watch.open(st.id))
	}
}

// endTenant ends a tenant's goroutines, waits for them and forgets what they had not committed: it is listed again.
func (o *owner) endTenant(t *tenant) {
	t.stop()
	t.wg.Wait()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.flying -= t.queue.live.jobs + t.queue.past.jobs
	prefix := string(t.ID) + "/"
	keep := o.ready[:0:0]
	for _, u := range o.ready {
		if strings.HasPrefix(u.stream, prefix) {
			o.size -= u.size
			o.release(u)
			continue
		}
		keep = append(keep, u)
	}
	o.ready = keep
	o.forgetStreams(func(st *stream) bool { return st.t == t })
	o.s.metrics.forget(string(t.ID))
}

// forgetStreams takes streams out of the owner's status. The lock is held.
func (o *owner) forgetStreams(gone func(*stream) bool) {
	keep := o.streams[:0:0]
	for _, st := range o.streams {
		if gone(st) {
			o.s.board.remove(st.status.key())
			continue
		}
		keep = append(keep, st)
	}
	o.streams = keep
}

// dropBystanders forgets the streams that nobody runs.
func (o *owner) dropBystanders() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.forgetStreams(func(st *stream) bool { return st.t == nil })
}

// bystanders gives a status to every stream that is not run: those of paused tenants, those that the configuration does not ask for any
// more, and those of tenants that are in no list, which somebody has to decide about.
func (o *owner) bystanders(wanted map[audit.TenantID]*Tenant) {
	runs := make(map[string]bool)
	o.mu.Lock()
	for _, st := range o.streams {
		runs[st.id] = true
	}
	o.mu.Unlock()
	idle := make(map[string]bool)
	for _, id := range o.book.Streams() {
		if !strings.HasSuffix(id, "/"+string(audit.SourceImport)) && (o.book.State(id) != checkpoint.State{} || o.book.Blobs(id) > 0) {
			idle[id] = true
		}
	}
	for id, t := range wanted {
		if t.Paused {
			for _, ct := range audit.ContentTypes() {
				idle[string(id)+"/"+string(ct.Source())] = true
			}
		}
	}
	now := o.s.cfg.Now()
	for id := range idle {
		if runs[id] {
			continue
		}
		tenantID, source, _ := strings.Cut(id, "/")
		st := &stream{o: o, id: id, status: newStatus(o.s, audit.TenantID(tenantID), source, now)}
		st.status.value.Cursor, st.status.value.FirstSeen = o.book.State(id).Cursor, parseSeen(o.book.State(id).Seen)
		switch t := wanted[audit.TenantID(tenantID)]; {
		case t == nil:
			st.status.enter(wire.StateActionRequired, codeUnlisted, remedyUnlisted, now)
			o.s.cfg.Log.Warn("a stream has checkpoints and no tenant in this configuration: add the tenant, or its feed is lost after 7 days",
				"tenant_id", tenantID, "stream", source)
		case t.Paused:
			st.status.enter(wire.StateDisabled, codePaused, remedyPaused, now)
		default:
			st.status.enter(wire.StateDisabled, codeNotWanted, remedyNotWanted, now)
		}
		o.adopt(st)
	}
}
