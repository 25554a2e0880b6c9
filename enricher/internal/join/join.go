// Package join adds to an OCSF event what the lookups know about its users, applications, addresses and programs.
package join

import (
	"net/netip"
	"slices"

	"millrace/enricher/internal/directory"
	"millrace/enricher/internal/network"
	"millrace/enricher/internal/useragent"
	"millrace/pkg/audit"
	"millrace/pkg/ocsf"
)

// Lookups is what events are joined with, at one moment. It is not changed once it was given to a Joiner: the same event and equal
// lookups give the same bytes.
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

// Joiner joins events one after another. It owns buffers and remembers what it made of the last lookups' objects, so it must not
// be used concurrently; what an event becomes does not depend on what came before.
type Joiner struct {
	scanner scanner

	// Made from lookups, and dropped with them.
	lookups *Lookups
	users   memo[userKey, userText]
	places  memo[netip.Addr, network.Place]
	agents  memo[string, agentText]

	// Of the event at hand.
	report  Report
	tenant  *directory.Tenant
	view    *view
	added   []byte // text to be spliced in, one piece after another
	pieces  []piece
	entries []byte // enrichments, each with a comma in front
	tags    []string
}

// piece is a part of Joiner.added that goes into the event before the byte at offset at.
type piece struct{ at, from, to int }

// What a Joiner remembers at most. There is one for each number: 12 of them hold 20 MiB or so.
const (
	maxUsers  = 1024
	maxPlaces = 4096
	maxAgents = 2048
)

// NewJoiner returns a joiner with empty buffers.
func NewJoiner() *Joiner { return new(Joiner) }

// Join appends the event with everything that the lookups add to dst. Every byte of the event stays as it is, in its order; only
// members are added. A lookup that finds nothing adds nothing. The only error is ErrNotEvent. tenant is the tenant of the stream;
// when it is empty the event's own metadata.tenant_uid counts.
func (j *Joiner) Join(dst, event []byte, tenant audit.TenantID, l *Lookups) ([]byte, Report, error) {
	v, err := j.scanner.scan(event)
	if err != nil {
		return dst, Report{}, err
	}
	if j.lookups != l {
		j.lookups = l
		j.users = memo[userKey, userText]{bound: maxUsers}
		j.places = memo[netip.Addr, network.Place]{bound: maxPlaces}
		j.agents = memo[string, agentText]{bound: maxAgents}
	}
	if tenant == "" {
		tenant = audit.TenantID(v.tenant.text)
	}
	j.view, j.tenant, j.report = v, l.Directory.Tenant(tenant), Report{}
	j.added, j.entries, j.pieces = j.added[:0], j.entries[:0], j.pieces[:0]

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

// adding writes members behind those that a place of the event has.
func (j *Joiner) adding() members { return members{buf: &j.added, some: true} }

// add makes a piece of what was written since from.
func (j *Joiner) add(from int, at place) {
	if len(j.added) == from {
		return
	}
	if at.empty {
		from++ // the comma in front of the first member
	}
	j.pieces = append(j.pieces, piece{at: at.at, from: from, to: len(j.added)})
}

// closeEntries puts the collected enrichments into the event's own list, or adds the list.
func (j *Joiner) closeEntries() {
	at, from := j.view.enrichments, len(j.added)
	switch {
	case at.found && at.at < 0:
		// The event has something else of that name. It stays; the joins are in their attributes.
	case at.found:
		j.added = append(j.added, j.entries...)
		j.add(from, at)
	default:
		j.added = append(j.added, `,"enrichments":[`...)
		j.added = append(j.added, j.entries[1:]...)
		j.added = append(j.added, ']')
		j.add(from, j.view.whole)
	}
}

// splice appends the event with the pieces in their places.
func (j *Joiner) splice(dst []byte) []byte {
	event := j.view.event
	slices.SortStableFunc(j.pieces, func(a, b piece) int { return a.at - b.at })
	dst = slices.Grow(dst, len(event)+len(j.added))
	done := 0
	for _, p := range j.pieces {
		dst = append(dst, event[done:p.at]...)
		dst = append(dst, j.added[p.from:p.to]...)
		done = p.at
	}
	return append(dst, event[done:]...)
}

// Kinds of enrichments and who provides them.
const (
	aboutDirectory  = `,"type":"directory","provider":"Microsoft Entra ID","data":{`
	aboutNetwork    = `,"type":"network","provider":"Millrace","data":{`
	aboutAgent      = `,"type":"user_agent","provider":"Millrace","data":{`
	aboutGovernance = `,"type":"governance","provider":"Millrace","data":{`
	aboutLookups    = `,"type":"lookups","provider":"Millrace","data":{`
)

// entry starts an enrichment of an attribute whose value is a JSON literal; the caller writes data and closes it. The parts of the
// attribute's path are constants and indexes.
func (j *Joiner) entry(about string, value []byte, path ...string) members {
	b := append(j.entries, `,{"name":"`...)
	for _, p := range path {
		b = append(b, p...)
	}
	b = append(b, `","value":`...)
	b = append(b, value...)
	j.entries = append(b, about...)
	return members{buf: &j.entries}
}

func (j *Joiner) closeEntry() { j.entries = append(j.entries, '}', '}') }

// versions says by which lookups the event was enriched, and whether the directory was complete.
func (j *Joiner) versions(tenant audit.TenantID) {
	if tenant == "" {
		tenant = "unknown"
	}
	var literal [64]byte
	m := j.entry(aboutLookups, ocsf.AppendString(literal[:0], string(tenant)), "metadata.tenant_uid")
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
