package verify

import (
	"time"

	"millrace/pkg/wire"
)

// Finding is a kind of problem; the set is closed.
type Finding string

// The findings.
const (
	// NotDone: the stream is not through with the range yet.
	NotDone Finding = "not_done"
	// LedgerMissing: a blob is checkpointed, or has records on raw, and the ledger does not know it.
	LedgerMissing Finding = "ledger_missing"
	// LedgerTwice: the ledger has a blob more than once.
	LedgerTwice Finding = "ledger_twice"
	// LedgerDiffers: the numbers of a ledger entry do not fit one another.
	LedgerDiffers Finding = "ledger_differs"
	// RecordsMissing: records that the ledger names are not on their topic.
	RecordsMissing Finding = "records_missing"
	// RecordsChanged: the records are there and their bytes are not those that were written.
	RecordsChanged Finding = "records_changed"
	// RecordsUnknown: a record of a known blob lies where the ledger does not name it.
	RecordsUnknown Finding = "records_unknown"
	// RawNotHeld: retention has passed over records, so nothing can be said about them any more.
	RawNotHeld Finding = "raw_no_longer_held"
	// LedgerNotHeld: retention has passed over ledger entries of the range.
	LedgerNotHeld Finding = "ledger_no_longer_held"
	// OpenGap: the feed gives nothing of a window, and no operator has acknowledged it.
	OpenGap Finding = "gap"
)

// Problem is one reason why a range is not complete.
type Problem struct {
	Finding   Finding `json:"finding"`
	Source    string  `json:"source,omitempty"`
	ContentID string  `json:"content_id,omitempty"`
	Topic     string  `json:"topic,omitempty"`
	Partition int32   `json:"partition,omitempty"`
	Offset    int64   `json:"offset,omitempty"`
	Detail    string  `json:"detail"`
}

// Gap is a gap of the range with what became of it.
type Gap struct {
	wire.Gap
	Acknowledged time.Time `json:"acknowledged,omitzero"`
}

// Stream is what was found of one source of the tenant.
type Stream struct {
	Source      string    `json:"source"`
	ContentType string    `json:"content_type,omitempty"`
	DoneUntil   time.Time `json:"done_until,omitzero"` // everything that was created before and listed so far is committed
	Blobs       int       `json:"blobs"`               // on the ledger
	Bytes       int64     `json:"bytes"`               // of these blobs, decoded
	Records     int       `json:"records"`             // in these blobs
	DeadLetters int       `json:"dead_letters"`
	Proved      int       `json:"proved"`   // blobs all of whose records are where the ledger says, with the right bytes
	Counted     int       `json:"counted"`  // blobs of an older ledger, without digests: the records are there, their bytes are not compared
	NotHeld     int       `json:"not_held"` // blobs over whose records retention has passed
	Gaps        []Gap     `json:"gaps"`
}

// maxProblems bounds the list; the rest is counted only.
const maxProblems = 1000

// Report is the outcome.
type Report struct {
	Tenant   string    `json:"tenant"`
	From     time.Time `json:"from"`
	To       time.Time `json:"to"`
	Complete bool      `json:"complete"`
	Streams  []*Stream `json:"streams"`
	Problems []Problem `json:"problems"`
	Found    int       `json:"problems_found"` // Problems lists the first 1,000 of them
}

func (r *Report) add(p Problem) {
	r.Found++
	if len(r.Problems) < maxProblems {
		r.Problems = append(r.Problems, p)
	}
}

// Progress is how far the reading of the records is.
type Progress struct {
	Topic       string
	Read, Total int64 // offsets, of all topics
}
