package source

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"millrace/pkg/audit"
	"millrace/pkg/kafkatx"
	"millrace/pkg/m365"
	"millrace/pkg/msauth"
	"millrace/pkg/wire"
)

const (
	errorAfter        = 2 * time.Hour  // without success: ConnectionError
	disconnectedAfter = 12 * time.Hour // without success: Disconnected
	awaitingFor       = 12 * time.Hour // how long a new subscription may give nothing
	throttledAfter    = 30 * time.Second
)

// status is the state of one component of one tenant. The owner's lock guards it.
type status struct {
	tenant    audit.TenantID
	component string
	value     wire.Status
	version   int // counts changes
	written   int // the version that is on the status topic
	success   time.Time
	begun     time.Time
	throttled time.Time // since when the service throttles, zero = it does not
	s         *Sources
}

func (s *status) key() string { return string(s.tenant) + ":" + s.component }

func newStatus(s *Sources, t audit.TenantID, component string, now time.Time) *status {
	st := &status{s: s, tenant: t, component: component, success: now, begun: now}
	st.enter(wire.StateConnecting, "", "", now)
	return st
}

func (s *status) enter(state, code, remedy string, now time.Time) {
	if s.value.State == state && s.value.Code == code && s.value.Remedy == remedy {
		return
	}
	if s.value.State != state {
		s.value.Since = now.UTC()
	}
	s.value.State, s.value.Code, s.value.Remedy = state, code, remedy
	s.changed()
}

// changed notes that the topic no longer says what is true.
func (s *status) changed() {
	s.version++
	s.s.board.set(s.key(), s.value)
}

// ok says that the service answered as it should.
func (s *status) ok(hasData bool, now time.Time) {
	s.success, s.throttled = now, time.Time{}
	state := wire.StateConnected
	if !hasData && now.Sub(s.begun) < awaitingFor {
		state = wire.StateAwaiting
	}
	s.enter(state, "", "", now)
}

// failed says that a call failed, after all retries of its own.
func (s *status) failed(err error, now time.Time) {
	code, remedy := codeOf(err), RemedyOf(err)
	switch {
	case needsOperator(err), m365.ClassOf(err) == m365.ClassDisabled:
		s.enter(wire.StateActionRequired, code, remedy, now)
	case now.Sub(s.success) > disconnectedAfter:
		s.enter(wire.StateDisconnected, code, remedy, now)
	case now.Sub(s.success) > errorAfter:
		s.enter(wire.StateConnError, code, remedy, now)
	case m365.ClassOf(err) == m365.ClassThrottled:
		if s.throttled.IsZero() {
			s.throttled = now
		}
		if now.Sub(s.throttled) > throttledAfter {
			s.enter(wire.StateThrottled, code, remedy, now)
		}
	}
}

// needsOperator reports whether waiting does not mend an error.
func needsOperator(err error) bool {
	if auth, ok := errors.AsType[*msauth.AuthError](err); ok {
		return auth.Code != "" || auth.Unwrap() != nil // a refusal without a code is a gateway's, and passes
	}
	switch m365.ClassOf(err) {
	case m365.ClassPermission, m365.ClassTenant, m365.ClassAuditOff, m365.ClassConfig, m365.ClassAuth:
		return true
	case m365.ClassTransient, m365.ClassThrottled, m365.ClassNotStarted, m365.ClassDisabled, m365.ClassAlreadyOn, m365.ClassWindow,
		m365.ClassPage, m365.ClassLost:
	}
	return false
}

func codeOf(err error) string {
	if auth, ok := errors.AsType[*msauth.AuthError](err); ok {
		return auth.Code
	}
	if api, ok := errors.AsType[*m365.APIError](err); ok {
		return api.Code
	}
	return ""
}

// RemedyOf is the operator's remedy for any error of a call to Microsoft, or of the sign-in before it.
func RemedyOf(err error) string {
	if auth, ok := errors.AsType[*msauth.AuthError](err); ok {
		return auth.Remedy
	}
	return m365.RemedyOf(err)
}

// statusRecords are the status records that are due, for one transaction. The lock is held.
func (o *owner) statusRecords(now time.Time) (out []kafkatx.Record, written func()) {
	versions := make(map[*status]int)
	for _, st := range o.streams {
		s := st.status
		if s.version == s.written {
			continue
		}
		versions[s] = s.version
		s.value.Tenant, s.value.Component, s.value.At = string(s.tenant), s.component, now.UTC()
		if value, err := json.Marshal(s.value); err == nil { // a struct of strings, numbers and times always encodes
			out = append(out, kafkatx.Record{Topic: o.s.cfg.Names.Status(), Key: []byte(s.key()), Value: value})
		}
	}
	replicas, generation := o.replicaRecords(now)
	return append(out, replicas...), func() {
		for s, v := range versions {
			s.written = v
		}
		o.listed = generation
	}
}

// statusDue reports whether a component changed since the status topic was written. The lock is held.
func (o *owner) statusDue() bool {
	return o.listed != o.generation || slices.ContainsFunc(o.streams, func(st *stream) bool { return st.status.version != st.status.written })
}

// board holds the present states of all components of the process, for whoever asks from outside.
type board struct {
	mu     sync.Mutex // guards states
	states map[string]wire.Status
}

func newBoard() *board { return &board{states: make(map[string]wire.Status)} }

func (b *board) set(key string, s wire.Status) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s.Tenant, s.Component, _ = strings.Cut(key, ":")
	b.states[key] = s
}

func (b *board) remove(key string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.states, key)
}

// States lists the states of all components that this process runs, in order of tenant and component.
func (s *Sources) States() []wire.Status {
	s.board.mu.Lock()
	defer s.board.mu.Unlock()
	out := make([]wire.Status, 0, len(s.board.states))
	for _, key := range slices.Sorted(maps.Keys(s.board.states)) {
		out = append(out, s.board.states[key])
	}
	return out
}
