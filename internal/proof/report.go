package proof

import (
	"fmt"
	"io"
	"text/tabwriter"

	"millrace/pkg/audit"
)

// Kind says what is wrong with a record.
type Kind string

// The kinds of problems.
const (
	Missing    Kind = "missing"
	Repeated   Kind = "repeated"
	Altered    Kind = "altered"
	Unexpected Kind = "unexpected"
)

// Problem names one record that is not as it must be.
type Problem struct {
	Kind   Kind
	What   string // raw, event, enriched event, dead letter
	Detail string
}

// Row counts one workload, or all of them.
type Row struct {
	Has         int // copies of records that the tenant has
	Raw         int
	Events      int
	Repeats     int // copies that must not become events, because an equal one did
	Variants    int // records with the id of another one and other content
	DeadLetters int
	Enriched    int
	Missing     int
	Repeated    int
	Wrong       int // altered or unexpected
}

// Report is the verdict.
type Report struct {
	Rows     map[audit.Workload]*Row
	Problems []Problem
	named    int // how many problems Write names
}

func newReport(named int) *Report { return &Report{Rows: map[audit.Workload]*Row{}, named: named} }

// maxProblems bounds the memory for a run in which everything is wrong; further problems are counted only.
const maxProblems = 100_000

func (r *Report) row(w audit.Workload) *Row {
	row := r.Rows[w]
	if row == nil {
		row = &Row{}
		r.Rows[w] = row
	}
	return row
}

func (r *Report) add(w audit.Workload, kind Kind, what, format string, args ...any) {
	row := r.row(w)
	switch kind {
	case Missing:
		row.Missing++
	case Repeated:
		row.Repeated++
	default:
		row.Wrong++
	}
	if len(r.Problems) < maxProblems {
		r.Problems = append(r.Problems, Problem{Kind: kind, What: what, Detail: fmt.Sprintf(format, args...)})
	}
}

// Total adds up all workloads.
func (r *Report) Total() Row {
	var t Row
	for _, row := range r.Rows {
		t.Has += row.Has
		t.Raw += row.Raw
		t.Events += row.Events
		t.Repeats += row.Repeats
		t.Variants += row.Variants
		t.DeadLetters += row.DeadLetters
		t.Enriched += row.Enriched
		t.Missing += row.Missing
		t.Repeated += row.Repeated
		t.Wrong += row.Wrong
	}
	return t
}

// Holds reports whether nothing is missing, repeated, altered or unexpected.
func (r *Report) Holds() bool {
	t := r.Total()
	return t.Missing+t.Repeated+t.Wrong == 0
}

// Write prints the verdict as a table for people.
func (r *Report) Write(w io.Writer) error {
	tab := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	line := func(name string, x Row) {
		_, _ = fmt.Fprintf(tab, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t\n", // the error comes from Flush
			name, x.Has, x.Raw, x.Events, x.Repeats, x.Variants, x.DeadLetters, x.Enriched, x.Missing, x.Repeated, x.Wrong)
	}
	_, _ = fmt.Fprintln(tab, "workload\ttenant has\traw\tevents\trepeats\tvariants\tdead letters\tenriched\tmissing\trepeated\twrong\t")
	for _, workload := range append(audit.Workloads(), "all") {
		if row := r.Rows[workload]; row != nil {
			line(string(workload), *row)
		}
	}
	line("total", r.Total())
	if err := tab.Flush(); err != nil {
		return err
	}
	for _, p := range r.Problems[:min(len(r.Problems), r.named)] {
		if _, err := fmt.Fprintf(w, "%s: %s: %s\n", p.Kind, p.What, p.Detail); err != nil {
			return err
		}
	}
	verdict := "proof holds: nothing is missing, nothing is repeated"
	if !r.Holds() {
		t := r.Total()
		verdict = fmt.Sprintf("PROOF FAILS: %d missing, %d repeated, %d altered or unexpected", t.Missing, t.Repeated, t.Wrong)
	}
	_, err := fmt.Fprintln(w, verdict)
	return err
}
