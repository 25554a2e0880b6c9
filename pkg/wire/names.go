// Package wire is the contract between the binaries: topic names, keys, headers, sizes and values of every topic.
package wire

import (
	"strings"

	"millrace/pkg/audit"
)

// Names builds the topic names of one deployment. All names are built here and nowhere else.
type Names struct {
	Prefix   string // usually m365; also starts every group and transactional id
	Combined bool   // one topic for events and one for enriched events instead of one per workload (DLP stays apart)
}

// Raw is the topic of the raw records of one source.
func (n Names) Raw(s audit.Source) string { return n.Prefix + ".raw." + string(s) + ".v1" }

// Events is the topic of the normalized events of a workload.
func (n Names) Events(w audit.Workload) string { return n.Prefix + ".events." + n.part(w) + ".v1" }

// Enriched is the topic of the enriched events of a workload.
func (n Names) Enriched(w audit.Workload) string { return n.Prefix + ".enriched." + n.part(w) + ".v1" }

func (n Names) part(w audit.Workload) string {
	if n.Combined && w != audit.WorkloadDLP {
		return "all"
	}
	return string(w)
}

// DeadLetter is the topic of rejects; what may carry matched DLP content has its own.
func (n Names) DeadLetter(dlp bool) string {
	if dlp {
		return n.Prefix + ".deadletter.dlp.v1"
	}
	return n.Prefix + ".deadletter.general.v1"
}

// Seen is the topic of the normalizer's seen set.
func (n Names) Seen() string { return n.Prefix + ".seen.v1" }

// Checkpoints is the topic of the ingester's progress.
func (n Names) Checkpoints() string { return n.Prefix + ".checkpoints.v1" }

// Directory is the topic of users, groups and applications.
func (n Names) Directory() string { return n.Prefix + ".directory.v1" }

// Ledger is the topic that says what was served and where it went.
func (n Names) Ledger() string { return n.Prefix + ".ledger.v1" }

// Status is the topic of connector states and of the marks that a stage once ran on a number.
func (n Names) Status() string { return n.Prefix + ".status.v1" }

// RawAll lists the raw topics of all sources.
func (n Names) RawAll() []string {
	var all []string
	for _, s := range audit.Sources() {
		all = append(all, n.Raw(s))
	}
	return all
}

// EventsAll lists the topics of normalized events.
func (n Names) EventsAll() []string { return n.perWorkload(n.Events) }

// EnrichedAll lists the topics of enriched events.
func (n Names) EnrichedAll() []string { return n.perWorkload(n.Enriched) }

func (n Names) perWorkload(name func(audit.Workload) string) []string {
	if n.Combined {
		return []string{name(audit.WorkloadOther), name(audit.WorkloadDLP)}
	}
	var all []string
	for _, w := range audit.Workloads() {
		all = append(all, name(w))
	}
	return all
}

// sourceOf reads the source back from a raw topic's name; "" for any other topic.
func sourceOf(topic string) audit.Source {
	_, rest, ok := strings.Cut(topic, ".raw.")
	if !ok {
		return ""
	}
	s, ok := strings.CutSuffix(rest, ".v1")
	if !ok {
		return ""
	}
	return audit.Source(s)
}
