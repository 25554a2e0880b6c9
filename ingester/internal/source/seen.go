package source

import (
	"maps"
	"slices"
	"strings"
	"time"

	"millrace/pkg/audit"
)

// workloads is a set of workloads, a bit for each.
type workloads uint32

func (w *workloads) add(workload audit.Workload) {
	for i, known := range audit.Workloads() {
		if known == workload {
			*w |= 1 << i
			return
		}
	}
}

// see notes the workloads of a blob that were never seen on the stream before. The lock is held.
func (st *stream) see(w workloads, created time.Time) {
	for i, workload := range audit.Workloads() {
		first, known := st.status.value.FirstSeen[string(workload)]
		if w&(1<<i) == 0 || known && !created.Before(first) {
			continue
		}
		seen := maps.Clone(st.status.value.FirstSeen) // the board shows the old one
		if seen == nil {
			seen = make(map[string]time.Time)
		}
		seen[string(workload)] = created.UTC().Truncate(time.Second)
		st.status.value.FirstSeen = seen
		st.status.changed()
	}
}

// formatSeen writes what parseSeen reads.
func formatSeen(seen map[string]time.Time) string {
	parts := make([]string, 0, len(seen))
	for _, w := range slices.Sorted(maps.Keys(seen)) {
		parts = append(parts, w+"="+seen[w].Format(time.RFC3339))
	}
	return strings.Join(parts, ",")
}

func parseSeen(text string) map[string]time.Time {
	var seen map[string]time.Time
	for part := range strings.SplitSeq(text, ",") {
		w, at, _ := strings.Cut(part, "=")
		if t, err := time.Parse(time.RFC3339, at); err == nil {
			if seen == nil {
				seen = make(map[string]time.Time)
			}
			seen[w] = t.UTC()
		}
	}
	return seen
}
