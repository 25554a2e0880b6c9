// Package join adds to an OCSF event what the lookups know about its users, applications, addresses and programs.
package join

import (
	"math"
	"slices"

	"github.com/go-faster/jx"

	"millrace/enricher/internal/directory"
	"millrace/enricher/internal/network"
	"millrace/enricher/internal/useragent"
	"millrace/pkg/audit"
)

// Lookups is what events are joined with. It is a value of one moment: the same event and equal lookups give the same bytes.
type Lookups struct {
	Directory *directory.Snapshot
	Ranges    *network.Table
	Places    network.Databases
	Agents    *useragent.Parser
	// Domains are managed domains (lower case) of any tenant that configuration names beside those of the directory.
	Domains map[string]bool
	// Groups are the object ids of the groups that are imported; nil = all that the directory has.
	Groups map[string]bool
}

// Joiner joins events one after another. It owns buffers and a cache, so it must not be used concurrently; it has no other memory.
type Joiner struct {
	scanner scanner
	agents  agentCache

	// Of the event at hand.
	report  Report
	lookups *Lookups
	tenant  *directory.Tenant
	view    *view
	added   jx.Writer // text to be spliced in, one piece after another
	pieces  []piece
	entries jx.Writer // enrichments, separated by commas
	tags    []string
}

// piece is a part of Joiner.added that goes into the event before the byte at offset at.
type piece struct{ at, from, to int }

// NewJoiner returns a joiner with empty buffers.
func NewJoiner() *Joiner { return new(Joiner) }

// Join appends the event with everything that the lookups add to dst. Every byte of the event stays as it is and where it is; only
// members are added. A lookup that finds nothing adds nothing. The only error is ErrNotEvent. tenant is the tenant of the stream;
// when it is empty the event's own metadata.tenant_uid counts.
func (j *Joiner) Join(dst, event []byte, tenant audit.TenantID, l *Lookups) ([]byte, Report, error) {
	v, err := j.scanner.scan(event)
	if err != nil {
		return dst, Report{}, err
	}
	if tenant == "" {
		tenant = audit.TenantID(v.tenant)
	}
	j.view, j.lookups, j.tenant, j.report = v, l, l.Directory.Tenant(tenant), Report{}
	j.added.Buf, j.entries.Buf, j.pieces = j.added.Buf[:0], j.entries.Buf[:0], j.pieces[:0]

	j.person(&v.actor, &j.report[Actor])
	j.person(&v.target, &j.report[Target])
	j.person(&v.entity, &j.report[Target])
	j.app(v.appUID)
	j.accessList(v.access)
	device := j.agent(v.agent)
	j.source(&v.source, device)
	j.file(v.filePath, v.file)
	j.versions(tenant)
	j.closeEntries()
	return j.splice(dst), j.report, nil
}

// begin starts a piece for a place; end finishes it, dropping an empty one.
func (j *Joiner) begin() int { return len(j.added.Buf) }

func (j *Joiner) end(from int, at place) {
	if len(j.added.Buf) == from {
		return
	}
	if at.empty {
		from++ // the comma in front of the first member
	}
	j.pieces = append(j.pieces, piece{at: at.end, from: from, to: len(j.added.Buf)})
}

// closeEntries puts the collected enrichments into the event's own list, or adds the list.
func (j *Joiner) closeEntries() {
	v := j.view
	switch {
	case len(j.entries.Buf) == 0 || v.enrichments.found && v.enrichments.end < 0:
		return
	case v.enrichments.found:
		from := j.begin()
		j.added.Raw(j.entries.Buf) // begins with a comma
		j.end(from, v.enrichments)
	default:
		from := j.begin()
		j.added.RawStr(`,"enrichments":[`)
		j.added.Raw(j.entries.Buf[1:])
		j.added.ArrEnd()
		j.end(from, v.whole)
	}
}

// splice appends the event with the pieces in their places.
func (j *Joiner) splice(dst []byte) []byte {
	event := j.view.event
	slices.SortStableFunc(j.pieces, func(a, b piece) int { return a.at - b.at })
	dst = slices.Grow(dst, len(event)+len(j.added.Buf))
	done := 0
	for _, p := range j.pieces {
		dst = append(dst, event[done:p.at]...)
		dst = append(dst, j.added.Buf[p.from:p.to]...)
		done = p.at
	}
	return append(dst, event[done:]...)
}

// entry starts an enrichment of the attribute at path; data is written by the caller, ended by closeEntry.
func (j *Joiner) entry(path string, value []byte, kind, provider string) {
	w := &j.entries
	w.RawStr(`,{"name":"`)
	w.RawStr(path) // a constant of this package, at most with an index
	w.RawStr(`","value":`)
	w.ByteStr(value)
	w.RawStr(`,"type":"`)
	w.RawStr(kind)
	w.RawStr(`","provider":"`)
	w.RawStr(provider)
	w.RawStr(`","data":{`)
}

func (j *Joiner) closeEntry() { j.entries.RawStr(`}}`) }

// Providers, as enrichments name them.
const (
	providerDirectory = "Microsoft Entra ID"
	providerOwn       = "Millrace"
)

// versions says by which lookups the event was enriched, and whether the directory was complete.
func (j *Joiner) versions(tenant audit.TenantID) {
	value := []byte(tenant)
	if len(value) == 0 {
		value = []byte("unknown")
	}
	j.entry("metadata.tenant_uid", value, "lookups", providerOwn)
	m := members{w: &j.entries}
	if j.tenant.Complete() {
		m.str("directory", "complete")
	} else {
		m.str("directory", "incomplete")
	}
	m.str("directory_version", j.tenant.Version())
	if j.lookups.Ranges != nil {
		m.str("ranges_version", j.lookups.Ranges.Version())
	}
	m.str("places_version", j.lookups.Places.Version())
	if j.lookups.Agents != nil {
		m.str("user_agents_version", j.lookups.Agents.Version())
	}
	j.closeEntry()
}

// members writes members of an object, with commas between them. Empty texts are left out: OCSF events hold none.
type members struct {
	w    *jx.Writer
	some bool
}

func (m *members) key(name string) {
	b := m.w.Buf
	if m.some {
		b = append(b, ',')
	}
	m.some = true
	b = append(b, '"')
	b = append(b, name...)
	m.w.Buf = append(b, '"', ':')
}

func (m *members) str(name, value string) {
	if value != "" {
		m.key(name)
		m.w.Str(value)
	}
}

func (m *members) bool(name string, value bool) {
	m.key(name)
	m.w.Bool(value)
}

func (m *members) int(name string, value int) {
	m.key(name)
	m.w.Int(value)
}

func (m *members) float(name string, value float64) {
	if math.IsNaN(value) || math.IsInf(value, 0) {
		return // JSON has no such numbers
	}
	m.key(name)
	m.w.Float64(value)
}

func (m *members) list(name string, values []string) {
	if len(values) == 0 {
		return
	}
	m.key(name)
	for i, v := range values {
		if i == 0 {
			m.w.ArrStart()
		} else {
			m.w.Comma()
		}
		m.w.Str(v)
	}
	m.w.ArrEnd()
}

func (m *members) open(name string) members {
	m.key(name)
	m.w.ObjStart()
	return members{w: m.w}
}
