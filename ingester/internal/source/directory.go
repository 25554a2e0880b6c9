package source

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"millrace/ingester/internal/checkpoint"
	"millrace/pkg/kafkatx"
	"millrace/pkg/m365"
	"millrace/pkg/wire"
)

// directoryComponent names the directory stream in checkpoints and status.
const directoryComponent = "directory"

const (
	maxGraphPages   = 100_000 // of one round
	maxGroupMembers = 150_000 // of one group; more are left out
	maxMemberPages  = 10_000  // of one group: a page may be empty and name another one
)

// directory is the stream that mirrors a tenant's users, groups, applications and domains to the directory topic: once in full, then by
// Graph's delta links. It works page by page, each committed before the next is asked for.
type directory struct {
	*stream
	links map[string]string // kind → where its next round goes on
	// domains are those on the topic; nil = not read yet. There is no delta of them, so each round is a full one.
	domains map[string]bool
}

func newDirectory(t *tenant, now time.Time) *directory {
	st := &stream{
		o: t.o, t: t, id: string(t.ID) + "/" + directoryComponent, log: t.log.With("component", directoryComponent),
		status: newStatus(t.o.s, t.ID, directoryComponent, now),
	}
	d := &directory{stream: st, links: make(map[string]string)}
	if err := json.Unmarshal([]byte(t.o.book.State(st.id).Delta), &d.links); err != nil {
		d.links = make(map[string]string) // none yet, or unreadable: read in full
	}
	return d
}

func (d *directory) run(ctx context.Context) {
	fails := 0
	for ctx.Err() == nil {
		err := d.round(ctx)
		if ctx.Err() != nil {
			return
		}
		wait := d.o.s.cfg.DirectoryEvery
		d.o.mu.Lock()
		now := d.o.s.cfg.Now()
		if err != nil {
			fails++
			wait = d.o.s.retryWait(err, fails, longestWait)
			d.status.failed(err, now)
			d.log.Warn("directory not read", "attempt", fails, "wait", wait, "err", err)
		} else {
			fails = 0
			d.status.ok(true, now)
		}
		d.o.signal()
		d.o.mu.Unlock()
		pause(ctx, wait, nil)
	}
}

// round reads all kinds once. A kind that is refused does not stop the others. After a round that read something in full the directory
// is complete as far as the permissions go.
func (d *directory) round(ctx context.Context) error {
	kinds := []struct {
		name, first string
		object      func(context.Context, json.RawMessage) (id string, value any, err error)
	}{
		{wire.KindUser, "/v1.0/users/delta?$select=id,userPrincipalName,mail,displayName,department,jobTitle,officeLocation,userType," +
			"accountEnabled,onPremisesSyncEnabled,proxyAddresses,manager", d.user},
		{wire.KindGroup, "/v1.0/groups/delta?$select=id,displayName,mail,groupTypes", d.group},
		{wire.KindServicePrincipal, "/v1.0/servicePrincipals/delta", d.servicePrincipal},
		{wire.KindDomain, "/v1.0/domains", d.domain},
	}
	var errs []error
	full, objects := false, 0
	for _, k := range kinds {
		link := d.links[k.name]
		n, err := d.kind(ctx, k.name, link, k.first, k.object)
		if api, ok := errors.AsType[*m365.APIError](err); ok && link != "" && (api.Status == 410 || api.Status == 400) {
			delete(d.links, k.name) // the link is too old: read in full
			link = ""
			n, err = d.kind(ctx, k.name, "", k.first, k.object)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		errs = append(errs, err)
		full = full || link == "" && err == nil && k.name != wire.KindDomain
		objects += n
	}
	if full {
		if err := d.complete(ctx, objects); err != nil {
			return err
		}
	}
	return errors.Join(errs...)
}

// page is one answer of a Graph collection.
type page struct {
	Value []json.RawMessage `json:"value"`
	Next  string            `json:"@odata.nextLink"`
	Delta string            `json:"@odata.deltaLink"`
}

// kind reads one kind of object from a link, or from its first address, and commits it page by page.
func (d *directory) kind(ctx context.Context, kind, link, first string, object func(context.Context, json.RawMessage) (string, any, error)) (int, error) {
	op := "read " + kind + "s"
	address, n := link, 0
	if address == "" {
		address = first
	}
	known, err := d.known(ctx, kind, link == "")
	if err != nil {
		return 0, err
	}
	seen := make(map[string]bool)
	for range maxGraphPages {
		var p page
		if err := d.get(ctx, op, address, &p); err != nil {
			return n, err
		}
		u := &unit{stream: d.id}
		for _, raw := range p.Value {
			id, value, err := object(ctx, raw)
			if err != nil {
				return n, fmt.Errorf("%s: %w", op, err)
			}
			rec, err := d.record(kind, id, value)
			if err != nil {
				return n, err
			}
			if known != nil {
				seen[string(rec.Key)] = true
			}
			u.outputs = append(u.outputs, rec)
			u.size += len(rec.Value) + 200
		}
		// In the transaction of the last page, whose link would otherwise hide what has gone. An answer that ends without a link, or is
		// empty, is no proof of anything.
		if p.Next == "" && (p.Delta != "" || kind == wire.KindDomain && len(seen) > 0) {
			u.outputs = append(u.outputs, d.vanished(known, seen)...)
		}
		n += len(p.Value)
		if p.Delta != "" {
			links := maps.Clone(d.links)
			links[kind] = p.Delta
			if err := d.stageLinks(u, links); err != nil {
				return n, err
			}
		}
		if len(u.outputs) > 0 || u.stage != nil {
			if err := d.o.offerAndWait(ctx, u); err != nil {
				return n, err
			}
			d.o.s.metrics.objects.WithLabelValues(string(d.t.ID)).Add(float64(len(p.Value)))
		}
		if p.Delta != "" {
			d.links[kind] = p.Delta
		}
		if address = p.Next; address == "" {
			if kind == wire.KindDomain && known != nil {
				d.domains = seen
			}
			return n, nil
		}
	}
	return n, fmt.Errorf("%s: %w: more than %d pages", op, m365.ErrBadAnswer, maxGraphPages)
}

const graphTries = 6 // of one request, before the whole round waits

// get reads one page. A request that fails in passing is made again alone: a round reads thousands, and each of them may fail.
func (d *directory) get(ctx context.Context, op, address string, into *page) error {
	for try := 1; ; try++ {
		*into = page{}
		err := d.t.Graph.Get(ctx, op, address, into)
		class := m365.ClassOf(err)
		if err == nil || ctx.Err() != nil || try == graphTries || needsOperator(err) || class != m365.ClassTransient && class != m365.ClassThrottled {
			return err
		}
		wait := max(d.o.s.cfg.RetryWait/8<<try, retryAfter(err))
		d.log.Info("a request for the directory failed, it comes again", "operation", op, "attempt", try, "wait", wait, "err", err)
		pause(ctx, wait, nil)
	}
}

// known are the keys of a kind that the topic has, for a full read; nil if they are not asked for.
func (d *directory) known(ctx context.Context, kind string, full bool) (map[string]bool, error) {
	if !full || d.o.s.cfg.Directory == nil {
		return nil, nil //nolint:nilnil // a delta says itself what has gone
	}
	if kind == wire.KindDomain && d.domains != nil {
		return d.domains, nil
	}
	prefix := string(d.t.ID) + ":" + kind + ":"
	known := make(map[string]bool)
	err := d.o.s.cfg.Directory(ctx, d.o.number, func(key string, gone bool) {
		switch {
		case !strings.HasPrefix(key, prefix):
		case gone:
			delete(known, key)
		default:
			known[key] = true
		}
	})
	if err != nil {
		return nil, fmt.Errorf("read what is known of %ss: %w", kind, err)
	}
	return known, nil
}

// vanished removes the objects that are known and were not in a full read.
func (d *directory) vanished(known, seen map[string]bool) (out []kafkatx.Record) {
	for _, key := range slices.Sorted(maps.Keys(known)) {
		if !seen[key] {
			out = append(out, kafkatx.Record{Topic: d.o.s.cfg.Names.Directory(), Partition: d.o.number, Key: []byte(key)})
		}
	}
	return out
}

// stageLinks has the links written in the transaction of the last page of a round.
func (d *directory) stageLinks(u *unit, links map[string]string) error {
	text, err := json.Marshal(links)
	if err != nil {
		return fmt.Errorf("encode delta links: %w", err)
	}
	u.stage = func(c *checkpoint.Change) {
		state := d.o.book.State(d.id)
		state.Delta = string(text)
		c.Set(d.id, state)
	}
	return nil
}

func (d *directory) record(kind, id string, value any) (kafkatx.Record, error) {
	if id == "" || len(id) > 512 {
		return kafkatx.Record{}, fmt.Errorf("%w: a %s without a usable id", m365.ErrBadAnswer, kind)
	}
	rec := kafkatx.Record{
		Topic: d.o.s.cfg.Names.Directory(), Partition: d.o.number, Key: []byte(string(d.t.ID) + ":" + kind + ":" + strings.ToLower(id)),
	}
	if value == nil {
		return rec, nil // removed
	}
	var err error
	if rec.Value, err = json.Marshal(value); err != nil {
		return rec, fmt.Errorf("encode %s: %w", kind, err)
	}
	return rec, nil
}

func (d *directory) complete(ctx context.Context, objects int) error {
	now := d.o.s.cfg.Now().UTC()
	value, err := json.Marshal(wire.Complete{Version: now.Format("20060102T150405Z"), At: now, Objects: objects})
	if err != nil {
		return fmt.Errorf("encode complete: %w", err)
	}
	rec := kafkatx.Record{
		Topic: d.o.s.cfg.Names.Directory(), Partition: d.o.number, Key: []byte(string(d.t.ID) + ":" + wire.KindComplete), Value: value,
	}
	return d.o.offerAndWait(ctx, &unit{stream: d.id, outputs: []kafkatx.Record{rec}, size: len(value)})
}

// removed is the mark of an object that is gone.
type removed struct {
	ID      string          `json:"id"`
	Removed json.RawMessage `json:"@removed"`
}

func (d *directory) user(_ context.Context, raw json.RawMessage) (string, any, error) {
	type reference struct {
		ID string `json:"id"`
	}
	var o struct {
		removed
		UserPrincipalName, Mail, DisplayName, Department, JobTitle, OfficeLocation, UserType string
		AccountEnabled, OnPremisesSyncEnabled                                                *bool
		ProxyAddresses                                                                       []string
		Manager                                                                              *reference
		ManagerDelta                                                                         []reference `json:"manager@delta"`
	}
	if err := json.Unmarshal(raw, &o); err != nil {
		return "", nil, fmt.Errorf("%w: %w", m365.ErrBadAnswer, err)
	}
	if len(o.Removed) > 0 {
		return o.ID, nil, nil
	}
	u := wire.User{
		ID: o.ID, UserPrincipalName: o.UserPrincipalName, Mail: o.Mail, DisplayName: o.DisplayName, Department: o.Department, JobTitle: o.JobTitle,
		OfficeLocation: o.OfficeLocation, UserType: o.UserType, AccountEnabled: o.AccountEnabled, OnPremisesSyncEnabled: o.OnPremisesSyncEnabled,
		ProxyAddresses: o.ProxyAddresses,
	}
	switch {
	case o.Manager != nil:
		u.ManagerID = o.Manager.ID
	case len(o.ManagerDelta) > 0:
		u.ManagerID = o.ManagerDelta[len(o.ManagerDelta)-1].ID
	}
	return o.ID, u, nil
}

// group reads a group's members anew whenever the group is in a delta: a delta of members alone could not be applied without knowing
// the rest.
func (d *directory) group(ctx context.Context, raw json.RawMessage) (string, any, error) {
	var o struct {
		removed
		DisplayName, Mail string
		GroupTypes        []string
	}
	if err := json.Unmarshal(raw, &o); err != nil {
		return "", nil, fmt.Errorf("%w: %w", m365.ErrBadAnswer, err)
	}
	if len(o.Removed) > 0 {
		return o.ID, nil, nil
	}
	g := wire.Group{ID: o.ID, DisplayName: o.DisplayName, Mail: o.Mail, GroupTypes: o.GroupTypes}
	address := "/v1.0/groups/" + m365.Escape(o.ID) + "/members?$select=id&$top=999"
	for n := 0; address != "" && len(g.Members) < maxGroupMembers; n++ {
		if n == maxMemberPages {
			return "", nil, fmt.Errorf("read group members: %w: more than %d pages", m365.ErrBadAnswer, maxMemberPages)
		}
		var p page
		if err := d.get(ctx, "read group members", address, &p); err != nil {
			if m365.ClassOf(err) == m365.ClassLost {
				break // removed meanwhile: the next round says so
			}
			return "", nil, err
		}
		for _, m := range p.Value {
			var r removed
			if json.Unmarshal(m, &r) == nil && r.ID != "" {
				g.Members = append(g.Members, r.ID)
			}
		}
		address = p.Next
	}
	slices.Sort(g.Members)
	return o.ID, g, nil
}

func (d *directory) servicePrincipal(_ context.Context, raw json.RawMessage) (string, any, error) {
	var o struct {
		removed
		AppID, DisplayName, PublisherName string
		VerifiedPublisher                 struct{ DisplayName string }
	}
	if err := json.Unmarshal(raw, &o); err != nil {
		return "", nil, fmt.Errorf("%w: %w", m365.ErrBadAnswer, err)
	}
	if len(o.Removed) > 0 {
		return o.ID, nil, nil
	}
	return o.ID, wire.ServicePrincipal{
		ID: o.ID, AppID: o.AppID, DisplayName: o.DisplayName, PublisherName: o.PublisherName, VerifiedPublisher: o.VerifiedPublisher.DisplayName,
	}, nil
}

func (d *directory) domain(_ context.Context, raw json.RawMessage) (string, any, error) {
	var o struct {
		ID        string `json:"id"`
		IsDefault bool   `json:"isDefault"`
	}
	if err := json.Unmarshal(raw, &o); err != nil {
		return "", nil, fmt.Errorf("%w: %w", m365.ErrBadAnswer, err)
	}
	return o.ID, wire.Domain{ID: o.ID, IsDefault: o.IsDefault}, nil
}
