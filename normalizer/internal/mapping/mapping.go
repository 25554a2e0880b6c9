// Package mapping turns records of the Microsoft 365 audit feed into OCSF events.
//
// It is pure: the same record with the same provenance gives the same bytes, in every process and at any time. The tables under
// schemas/ocsf decide class and activity; the functions of this package, one file for each family of classes, fill the attributes.
// No record is dropped for being unknown, and no field is lost: what is not copied into an attribute stays in unmapped, under the
// vendor's own name.
package mapping

//go:generate go test -count=1 -run ^(TestDocument|TestVendorFields)$ -update .

import (
	"sync"

	"millrace/pkg/audit"
	"millrace/pkg/ocsf"
)

// Options are the choices that an operator has.
type Options struct {
	// RawData puts the verbatim record on the event too. Records with DLP content get it only together with DLPClear.
	RawData bool
	// DLPClear leaves the text that a DLP rule matched on the event. By default it is masked and only its length is kept.
	DLPClear bool
}

// Event is one encoded OCSF event with what routing needs to know of it.
type Event struct {
	UID        string // metadata.uid
	ClassUID   int
	ActivityID int
	TypeUID    int
	SeverityID int
	TimeMillis int64
	RecordType int    // the vendor's number, -1 when the record has none
	Workload   string // the vendor's word
	Value      []byte
}

// The reasons for refusing a record.
const (
	ReasonInvalidJSON = "invalid_json"
	ReasonNoTime      = "no_time"
	ReasonNoID        = "no_id"
)

// Refusal says why a record cannot become an event. Detail never holds content of the record.
type Refusal struct {
	Reason string
	Detail string
}

// Error implements error.
func (r *Refusal) Error() string { return "refused (" + r.Reason + "): " + r.Detail }

// Mapper maps records. It is safe for concurrent use.
type Mapper struct {
	options Options
	tables  *tables
	workers sync.Pool
}

// New compiles the embedded tables.
func New(options Options) (*Mapper, error) {
	t, err := loadTables()
	if err != nil {
		return nil, err
	}
	m := &Mapper{options: options, tables: t}
	m.workers.New = func() any { return newWorker(t, options) }
	return m, nil
}

// Map appends the record's events to dst: one, except for a change of several members of a group, which gives one event a member.
// The digest is the content digest of audit.Digester; it is part of the name that metadata.uid is made from. The error is a
// *Refusal.
func (m *Mapper) Map(dst []Event, rec audit.Record, digest uint64) ([]Event, error) {
	w, _ := m.workers.Get().(*worker)
	defer m.workers.Put(w)
	defer w.release()
	return w.mapRecord(dst, rec, digest)
}

// worker is the scratch space of one record at a time.
type worker struct {
	tables  *tables
	options Options
	rules   map[ruleKey]*verdict // cache; a pure function of the tables

	rec    audit.Record
	digest uint64
	record record
	op     string // the operation without surrounding blanks and trailing full stop
	number int    // RecordType, -1 when absent or no known number
	rule   *verdict
	class  ocsf.Class
	ev     ocsf.Event
	name   []byte   // scratch for metadata.uid
	out    []byte   // scratch for the encoded event
	list   []string // scratch for recipients
	only   []byte   // of a fan-out: the member that this event is about, as a list
}

func newWorker(t *tables, options Options) *worker {
	w := &worker{tables: t, options: options, rules: map[ruleKey]*verdict{}}
	w.record.init()
	return w
}

// maxScratch is the largest buffer that a worker keeps between records.
const maxScratch = 1 << 20

// release drops what refers to the caller's record.
func (w *worker) release() {
	if len(w.rec.Raw) > maxScratch { // what is left in the event's lists would keep it in memory
		w.ev, w.list = ocsf.Event{}, nil
	}
	w.rec = audit.Record{}
	w.record.release()
	if cap(w.out) > maxScratch {
		w.out = nil
	}
}

func (w *worker) mapRecord(dst []Event, rec audit.Record, digest uint64) ([]Event, error) {
	w.rec, w.digest = rec, digest
	if err := w.record.decode(rec.Raw); err != nil {
		return dst, err
	}
	id := w.record.take(fID)
	if id == "" {
		return dst, &Refusal{ReasonNoID, "the record has no Id"}
	}
	created, ok := parseTime(w.record.text(fCreationTime))
	if !ok {
		return dst, &Refusal{ReasonNoTime, "the record has no CreationTime that is a time"}
	}
	w.classify()
	n := w.members()
	for i := range n {
		w.ev.Reset()
		w.frame(id, created.UnixMilli(), i, n)
		w.fill(i, n)
		w.finish()
		dst = append(dst, w.encode())
	}
	return dst, nil
}

// classify finds the rule: operation first, then record type, then the fallback.
func (w *worker) classify() {
	r := &w.record
	w.number = w.tables.recordType(r.text(fRecordType))
	w.op = operation(r.text(fOperation), w.number, r.text(fWorkload))
	w.rule = w.lookup(w.number, w.op)
	w.class = w.rule.class
}

// fill writes the attributes of the class; i of n is the place in a fan-out.
func (w *worker) fill(i, n int) {
	switch w.class {
	case ocsf.ClassAuthentication:
		w.authentication()
	case ocsf.ClassAccountChange:
		w.accountChange()
	case ocsf.ClassEntityManagement:
		w.entityManagement()
	case ocsf.ClassUserAccess:
		w.userAccess()
	case ocsf.ClassGroupManagement:
		w.groupManagement(i, n)
	case ocsf.ClassEmailActivity:
		w.emailActivity()
	case ocsf.ClassWebResourcesActivity:
		w.webResources()
	case ocsf.ClassApplicationLifecycle:
		w.applicationLifecycle()
	case ocsf.ClassDatastoreActivity:
		w.datastore()
	case ocsf.ClassFileHosting:
		w.fileHosting()
	case ocsf.ClassDataSecurityFinding:
		w.dataSecurity()
	case ocsf.ClassDetectionFinding:
		w.detection()
	default:
		w.apiActivity()
	}
}

// encode gives the event its own bytes.
func (w *worker) encode() Event {
	e := &w.ev
	uid := e.Metadata.UID
	w.out = e.Append(w.out[:0])
	value := make([]byte, len(w.out))
	copy(value, w.out)
	return Event{
		UID: uid, ClassUID: int(e.Class), ActivityID: e.Activity.ID(), TypeUID: e.TypeUID(), SeverityID: e.SeverityID.ID(),
		TimeMillis: e.Time, RecordType: w.number, Workload: w.tables.intern(w.record.text(fWorkload)),
		Value: value,
	}
}
