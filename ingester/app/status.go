package app

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"millrace/internal/service"
	"millrace/pkg/audit"
	"millrace/pkg/kafkatx"
	"millrace/pkg/wire"
)

// known is what the status topic says about connectors.
type known struct {
	states []wire.Status // in order of tenant and component
	gaps   []openGap     // not acknowledged, in order of their keys
}

// openGap is an open gap with its key.
type openGap struct {
	key string
	wire.OpenGap
}

// id names the gap to an operator: the last part of its key.
func (g openGap) id() string { return g.key[strings.LastIndexByte(g.key, ':')+1:] }

// readStatus reads the status topic to its end.
func readStatus(ctx context.Context, cfg Config, rt service.Runtime) (known, error) {
	client, err := dial(ctx, cfg, "status", rt)
	if err != nil {
		return known{}, err
	}
	defer client.Close()
	return readStatusFrom(ctx, client, cfg.Kafka.Names().Status(), rt)
}

func readStatusFrom(ctx context.Context, client *kafkatx.Client, topic string, rt service.Runtime) (known, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	reading, done := context.WithCancel(ctx)
	defer done()
	states, gaps := make(map[string]wire.Status), make(map[string]openGap)
	err := client.Tail(reading, topic, func(r kafkatx.Record) error {
		key := string(r.Key)
		_, _, isState := wire.StatusKey(key)
		if !isState && !wire.IsGapKey(key) {
			return nil
		}
		delete(states, key)
		delete(gaps, key)
		var err error
		switch {
		case r.Value == nil:
		case isState:
			var s wire.Status
			if err = json.Unmarshal(r.Value, &s); err == nil {
				states[key] = s
			}
		default:
			g := openGap{key: key}
			if err = json.Unmarshal(r.Value, &g.OpenGap); err == nil {
				gaps[key] = g
			}
		}
		if err != nil {
			rt.Log.Warn("a value on the status topic is not understood", "offset", r.Offset, "err", err)
		}
		return nil
	}, done)
	if err != nil && (ctx.Err() != nil || reading.Err() == nil) {
		return known{}, fmt.Errorf("read the status topic: %w", err)
	}
	var out known
	for _, key := range slices.Sorted(maps.Keys(states)) {
		out.states = append(out.states, states[key])
	}
	for _, key := range slices.Sorted(maps.Keys(gaps)) {
		out.gaps = append(out.gaps, gaps[key])
	}
	return out, nil
}

// componentConnector is the row that sums up a tenant.
const componentConnector = "connector"

// statusRow is one component as it is shown.
type statusRow struct {
	wire.Status
	LagSeconds *int64     `json:"lag_seconds,omitempty"` // of live listing
	OpenGaps   []wire.Gap `json:"open_gaps,omitempty"`
	NotSeen    []string   `json:"not_seen,omitempty"` // of the connector: workloads without a record yet
}

// rows are the components of each tenant, after the one that sums them up.
func (k known) rows(now time.Time) []statusRow {
	var out []statusRow
	for i := 0; i < len(k.states); {
		j := i
		for j < len(k.states) && k.states[j].Tenant == k.states[i].Tenant {
			j++
		}
		var parts []statusRow
		for _, s := range k.states[i:j] {
			if s.Component == wire.ComponentReplicas && now.Sub(s.At) > wire.ReplicasFresh {
				continue
			}
			r := statusRow{Status: s}
			if !s.Cursor.IsZero() {
				lag := int64(max(0, s.At.Sub(s.Cursor)).Seconds())
				r.LagSeconds = &lag
			}
			for _, g := range k.gaps {
				if g.Tenant == s.Tenant && g.Source == s.Component {
					r.OpenGaps = append(r.OpenGaps, g.Gap)
				}
			}
			parts = append(parts, r)
		}
		if len(parts) > 0 {
			out = append(append(out, connector(parts)), parts...)
		}
		i = j
	}
	return out
}

// badness orders the states of components from the one that has to be shown first.
var badness = [...]string{
	wire.StateActionRequired, wire.StateDisconnected, wire.StateConnError, wire.StateThrottled, wire.StateConnecting, wire.StateAwaiting,
	wire.StateConnected, wire.StateDisabled,
}

// connector sums up the components of a tenant.
func connector(parts []statusRow) statusRow {
	rank := func(r statusRow) int {
		if i := slices.Index(badness[:], r.State); i >= 0 {
			return i
		}
		return 0
	}
	worst, failing, active := parts[0], 0, 0
	sum := statusRow{}
	sum.FirstSeen = make(map[string]time.Time)
	for _, p := range parts {
		if rank(p) < rank(worst) {
			worst = p
		}
		if rank(p) <= slices.Index(badness[:], wire.StateThrottled) {
			failing++
		}
		if p.State != wire.StateDisabled {
			active++
		}
		sum.Open += p.Open
		sum.Gaps += p.Gaps
		sum.DataLoss = sum.DataLoss || p.DataLoss
		sum.OpenGaps = append(sum.OpenGaps, p.OpenGaps...)
		if p.LagSeconds != nil && p.State != wire.StateDisabled && (sum.LagSeconds == nil || *p.LagSeconds > *sum.LagSeconds) {
			sum.LagSeconds = p.LagSeconds
		}
		if p.At.After(sum.At) {
			sum.At = p.At
		}
		if p.LastBlob.After(sum.LastBlob) {
			sum.LastBlob = p.LastBlob
		}
		for w, at := range p.FirstSeen {
			if first, there := sum.FirstSeen[w]; !there || at.Before(first) {
				sum.FirstSeen[w] = at
			}
		}
	}
	sum.Tenant, sum.Component = worst.Tenant, componentConnector
	sum.State, sum.Since, sum.Code, sum.Remedy = worst.State, worst.Since, worst.Code, worst.Remedy
	connected := slices.ContainsFunc(parts, func(p statusRow) bool { return p.State == wire.StateConnected })
	switch {
	case failing > 0 && failing < active:
		sum.State = wire.StatePartial
	case worst.State == wire.StateAwaiting && connected:
		sum.State, sum.Remedy = wire.StateConnected, "" // quiet content types are normal
	}
	for _, w := range audit.Workloads() {
		if _, there := sum.FirstSeen[string(w)]; !there && w != audit.WorkloadOther {
			sum.NotSeen = append(sum.NotSeen, string(w))
		}
	}
	return sum
}

func (k known) print(w io.Writer, asJSON bool, now time.Time) error {
	rows := k.rows(now)
	show := func() error { return statusTable(w, rows, now) }
	if asJSON {
		show = func() error { return jsonLines(w, rows) }
	}
	if err := show(); err != nil {
		return err
	}
	if slices.ContainsFunc(rows, func(r statusRow) bool {
		return r.State == wire.StateActionRequired || r.State == wire.StateDisconnected
	}) {
		return service.ErrReported
	}
	return nil
}

func statusTable(w io.Writer, rows []statusRow, now time.Time) error {
	err := table(w, "TENANT COMPONENT STATE FOR LAG OPEN GAPS CODE REMEDY", rows, func(r statusRow) []string {
		lag, gaps := "-", fmt.Sprint(r.Gaps)
		if r.LagSeconds != nil {
			lag = (time.Duration(*r.LagSeconds) * time.Second).String()
		}
		if r.DataLoss {
			gaps += " (data loss)"
		}
		return []string{
			r.Tenant, r.Component, r.State, now.Sub(r.Since).Round(time.Second).String(), lag, fmt.Sprint(r.Open), gaps, r.Code, r.Remedy,
		}
	})
	if err != nil {
		return err
	}
	for _, r := range rows {
		if r.Component != componentConnector {
			continue
		}
		var seen []string
		for _, workload := range slices.Sorted(maps.Keys(r.FirstSeen)) {
			seen = append(seen, workload+" since "+r.FirstSeen[workload].Format(time.DateOnly))
		}
		if len(seen) == 0 {
			seen = []string{"none yet"}
		}
		if _, err := fmt.Fprintf(w, "services of %s: %s; not seen yet: %s\n", r.Tenant, strings.Join(seen, ", "), strings.Join(r.NotSeen, ", ")); err != nil {
			return err
		}
	}
	return nil
}
