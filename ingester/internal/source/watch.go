package source

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"millrace/pkg/audit"
	"millrace/pkg/kafkatx"
	"millrace/pkg/wire"
)

// watch is what a process knows from the status topic beside what it writes there itself: which gaps are open, which tenants the other
// replicas have, and which differences are reported.
type watch struct {
	mu     sync.Mutex                 // guards all below
	gaps   map[string]map[string]bool // by stream and key; true = something was lost that had been there
	lists  map[int32]map[string]bool
	alarms map[string]wire.Status // by tenant
	since  map[string]time.Time   // when a tenant was first found to be in some lists only
	raised map[string]bool        // alarms that this process wrote
}

func newWatch() watch {
	return watch{
		gaps: make(map[string]map[string]bool), lists: make(map[int32]map[string]bool), alarms: make(map[string]wire.Status),
		since: make(map[string]time.Time), raised: make(map[string]bool),
	}
}

// open is how many gaps of a stream are not acknowledged, and whether there is one among them that is more than the missing history of a new
// subscription.
func (w *watch) open(stream string) (n int, loss bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range w.gaps[stream] {
		loss = loss || l
	}
	return len(w.gaps[stream]), loss
}

// Observe takes in a record of the status topic. Whoever runs the sources passes it all of them, from the oldest on.
func (s *Sources) Observe(r kafkatx.Record) error {
	key := string(r.Key)
	if number, ok := wire.TenantListNumber(key); ok {
		s.observeList(number, r.Value)
		return nil
	}
	if wire.IsGapKey(key) {
		s.observeGap(key, r.Value)
		return nil
	}
	if tenant, component, ok := wire.StatusKey(key); ok && component == wire.ComponentReplicas {
		var st wire.Status
		s.watch.mu.Lock()
		defer s.watch.mu.Unlock()
		if r.Value == nil || json.Unmarshal(r.Value, &st) != nil {
			delete(s.watch.alarms, tenant)
		} else {
			s.watch.alarms[tenant] = st
		}
	}
	return nil
}

func (s *Sources) observeList(number int32, value []byte) {
	var list wire.TenantList
	known := make(map[string]bool)
	if value != nil && json.Unmarshal(value, &list) == nil {
		for _, t := range list.Tenants {
			known[t] = true
		}
	}
	s.watch.mu.Lock()
	if value == nil {
		delete(s.watch.lists, number)
	} else {
		s.watch.lists[number] = known
	}
	s.watch.mu.Unlock()
	s.signalAll()
}

func (s *Sources) observeGap(key string, value []byte) {
	parts := strings.Split(key, ":")
	if len(parts) != 4 {
		return
	}
	tenant, stream := audit.TenantID(parts[1]), parts[1]+"/"+parts[2]
	var gap wire.OpenGap
	w := &s.watch
	w.mu.Lock()
	if value == nil || json.Unmarshal(value, &gap) != nil {
		delete(w.gaps[stream], key)
	} else {
		if w.gaps[stream] == nil {
			w.gaps[stream] = make(map[string]bool)
		}
		w.gaps[stream][key] = gap.Gap.Reason != wire.GapBeforeSubscription
	}
	w.mu.Unlock()
	number := s.Number(tenant)
	for _, o := range s.running() {
		if o.number != number {
			continue
		}
		o.mu.Lock()
		for _, st := range o.streams {
			if st.id == stream {
				st.status.setGaps(w.open(stream))
			}
		}
		o.mu.Unlock()
		o.signal()
	}
}

// setGaps notes how many gaps of the component are open. The lock is held.
func (s *status) setGaps(n int, loss bool) {
	if s.value.Gaps == n && s.value.DataLoss == loss {
		return
	}
	s.value.Gaps, s.value.DataLoss = n, loss
	s.s.metrics.openGaps.WithLabelValues(string(s.tenant), s.component).Set(float64(n))
	s.changed()
}

// differing lists the tenants that are in some replicas' lists only, for longer than the grace.
func (s *Sources) differing(now time.Time) []string {
	list, _ := s.list()
	mine := make(map[string]bool)
	for _, t := range list {
		mine[string(t.ID)] = true
	}
	own := make(map[int32]bool)
	for _, o := range s.running() {
		own[o.number] = true
	}
	w := &s.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	found := make(map[string]bool)
	for number, theirs := range w.lists {
		if own[number] {
			continue // written by us, or about to be
		}
		for t := range theirs {
			if !mine[t] {
				found[t] = true
			}
		}
		for t := range mine {
			if !theirs[t] {
				found[t] = true
			}
		}
	}
	maps.DeleteFunc(w.since, func(t string, _ time.Time) bool { return !found[t] })
	var out []string
	for _, t := range slices.Sorted(maps.Keys(found)) {
		first, known := w.since[t]
		if !known {
			w.since[t] = now
		} else if now.Sub(first) >= s.cfg.ListGrace {
			out = append(out, t)
		}
	}
	return out
}

// replicaRecords are what the owner has to say on the status topic about the lists of tenants: its own list when that has changed, as the
// first owner of the process also the differences that it sees, and of the tenants of its number the differences that are over.
func (o *owner) replicaRecords(now time.Time) (out []kafkatx.Record, generation int) {
	s := o.s
	topic := s.cfg.Names.Status()
	list, generation := s.list()
	if o.listed != generation {
		value := wire.TenantList{Tenants: []string{}, At: now.UTC()}
		for _, t := range list {
			value.Tenants = append(value.Tenants, string(t.ID))
		}
		slices.Sort(value.Tenants)
		if text, err := json.Marshal(value); err == nil { // strings and a time always encode
			out = append(out, kafkatx.Record{Topic: topic, Key: []byte(wire.TenantListKey(o.number)), Value: text})
		}
	}
	if now.Before(o.look) {
		return out, generation
	}
	o.look = now.Add(min(time.Minute, max(s.cfg.ListGrace, 10*time.Millisecond)))
	differing := s.differing(now)
	if owners := s.running(); len(owners) == 0 || owners[0] != o {
		differing = nil
	}
	s.watch.mu.Lock()
	defer s.watch.mu.Unlock()
	for _, t := range differing {
		before, reported := s.watch.alarms[t]
		if reported && now.Sub(before.At) < time.Minute {
			continue
		}
		st := wire.Status{
			Tenant: t, Component: wire.ComponentReplicas, State: wire.StateActionRequired, Since: s.watch.since[t].UTC(), Code: codeListsDiffer,
			Remedy: remedyListDiffer, At: now.UTC(),
		}
		if !reported {
			s.cfg.Log.Warn("replicas have different lists of tenants: give all the same", "tenant_id", t)
		}
		s.watch.raised[t] = true
		if text, err := json.Marshal(st); err == nil { // a struct of strings, numbers and times always encodes
			out = append(out, kafkatx.Record{Topic: topic, Key: []byte(t + ":" + wire.ComponentReplicas), Value: text})
		}
	}
	for t, st := range s.watch.alarms {
		_, differs := s.watch.since[t]
		over := s.watch.raised[t] && !differs || now.Sub(st.At) > wire.ReplicasFresh && s.Number(audit.TenantID(t)) == o.number
		if over {
			delete(s.watch.raised, t)
			out = append(out, kafkatx.Record{Topic: topic, Key: []byte(t + ":" + wire.ComponentReplicas)})
		}
	}
	return out, generation
}
