package source

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"millrace/ingester/internal/checkpoint"
	"millrace/ingester/internal/plan"
	"millrace/pkg/audit"
	"millrace/pkg/kafkatx"
	"millrace/pkg/m365"
	"millrace/pkg/wire"
)

// unit is something finished that is committed as a whole: a blob, a gap, a page of a directory, the note that a start is requested.
type unit struct {
	stream  string // id of the checkpoint stream
	outputs []kafkatx.Record
	follow  []kafkatx.Record // written after outputs, whose offsets they do not name
	ledger  *wire.LedgerEntry
	size    int // rough memory of outputs
	// stage adds what the unit changes in the checkpoints.
	stage func(*checkpoint.Change)
	// note changes the state of the stream, from this transaction on; nil = nothing to do.
	note func(*checkpoint.State)
	// names is what a gap of the plan covers: up to this transaction it is owed.
	names plan.Window
	// merged is called under the owner's lock once the unit is committed; nil = nothing to do.
	merged func()
	done   chan struct{} // closed once the unit is committed; nil = nobody waits

	blob    *blob  // nil for everything that is not a blob
	spool   *spool // a large blob whose outputs are made just before its transaction
	partial bool   // the blob is taken although it is cut short
}

// blob is a listed blob on its way to the topics.
type blob struct {
	audit.Blob
	hash     checkpoint.Hash
	listed   time.Time
	via      plan.Kind
	attempts int
	due      time.Time // when to fetch it, or to fetch it again
	fetched  time.Time
	held     *share // of the memory budget
	sha      string
	bytes    int64
	records  int
	refused  int
	seen     workloads // of its records
}

func (b *blob) provenance(source audit.Source) audit.Provenance {
	domain := audit.DomainAudit
	if b.ContentType == audit.DLP {
		domain = audit.DomainDLP
	}
	return audit.Provenance{
		Tenant: b.Tenant, Source: source, Domain: domain, ContentType: string(b.ContentType),
		ContentID: b.ContentID, Created: b.Created, Fetched: b.fetched,
	}
}

// maxRecord bounds one record of a blob. It is far above what a topic takes: what lies between goes to dead letters in parts.
const maxRecord = 64 << 20

// recordOverhead is the rough memory of one output besides its value: headers and their buffer.
const recordOverhead = 1500

// whole checks that the input is a complete array and counts its records, without keeping anything.
func whole(r io.Reader) error {
	s := m365.NewSplitter(r, maxRecord)
	for {
		if _, err := s.Next(); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

// fill makes the outputs of a blob's unit from its bytes, which they alias. A blob that is no complete array is refused unless the
// unit says to take what there is of it: then its whole records are kept and the rest becomes a dead letter.
func (s *Sources) fill(u *unit, body []byte) error {
	b := u.blob
	source := b.ContentType.Source()
	split := m365.SplitBytes(body)
	u.outputs = make([]kafkatx.Record, 0, 1+len(body)/1024)
	b.records, b.refused, b.seen = 0, 0, 0
	cut := false
	rec := audit.Record{Provenance: b.provenance(source)}
	for {
		before := split.Offset()
		raw, err := split.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			if !u.partial {
				u.outputs = nil
				return err
			}
			rec.Raw, rec.Index = body[min(before, int64(len(body))):], b.records
			cut = true
			s.refuse(u, rec, wire.ReasonCutShort, fmt.Sprintf("from byte %d of the blob on", before))
			break
		}
		rec.Raw, rec.Index = raw, b.records
		b.records++
		if len(raw) > wire.MaxRaw {
			s.refuse(u, rec, wire.ReasonTooLarge, fmt.Sprintf("%d bytes", len(raw)))
			continue
		}
		// Bytes that are no record still have a key and a place on the raw topic; the normalizer refuses them with the same bytes.
		env, err := audit.ParseEnvelope(raw)
		if err != nil {
			env = audit.Envelope{RecordType: -1, UserType: -1}
		}
		b.seen.add(wire.WorkloadOf(env.RecordType, env.Workload, rec.Domain, 0))
		u.outputs = append(u.outputs, wire.RawRecord(s.cfg.Names, s.cfg.Partitions, rec, env))
	}
	u.size = len(body) + len(u.outputs)*recordOverhead
	u.ledger = &wire.LedgerEntry{
		Kind: wire.LedgerKindBlob, Tenant: string(b.Tenant), Source: string(source), ContentType: string(b.ContentType),
		Blob: &wire.LedgerBlob{
			ContentID: b.ContentID, Created: b.Created, Listed: b.listed.UTC(), Fetched: b.fetched.UTC(), Bytes: b.bytes, SHA256: b.sha,
			Records: b.records, DeadLetters: b.refused, CutShort: cut,
		},
	}
	return nil
}

// refuse puts a record of a blob on the dead-letter topic.
func (s *Sources) refuse(u *unit, rec audit.Record, reason wire.Reason, detail string) {
	in := wire.RawRecord(s.cfg.Names, s.cfg.Partitions, rec, audit.Envelope{RecordType: -1, UserType: -1})
	in.Offset = -1
	u.outputs = append(u.outputs, wire.DeadLetter(s.cfg.Names, in, wire.StageIngester, reason, detail)...)
	u.blob.refused++
}

// gapUnit records that a range of creation time, or one blob, cannot be had any more: for good on the ledger, and on the status topic until
// an operator acknowledges it.
func (st *stream) gapUnit(gap wire.Gap) *unit {
	s, tenant, source := st.o.s, string(st.t.ID), string(st.ct.Source())
	u := &unit{stream: st.id, ledger: &wire.LedgerEntry{
		Kind: wire.LedgerKindGap, Tenant: tenant, Source: source, ContentType: string(st.ct), Gap: &gap,
	}}
	open := wire.OpenGap{Tenant: tenant, Source: source, ContentType: string(st.ct), Gap: gap, At: st.o.s.cfg.Now().UTC()}
	if value, err := json.Marshal(open); err == nil { // a struct of strings and times always encodes
		u.follow = append(u.follow, kafkatx.Record{Topic: s.cfg.Names.Status(), Key: []byte(wire.GapKey(tenant, source, gap)), Value: value})
	}
	return u
}

// noteUnit records a change of the stream's state, which takes place once it is committed.
func (st *stream) noteUnit(note func(*checkpoint.State)) *unit {
	return &unit{stream: st.id, note: note, merged: func() { note(&st.state) }}
}

// ledgerRecord encodes an entry for the ledger's partition of the tenant.
func (s *Sources) ledgerRecord(stream string, e wire.LedgerEntry, number int32) kafkatx.Record {
	value, err := json.Marshal(e)
	if err != nil {
		value = []byte(`{"kind":"gap"}`) // a struct of strings, numbers and times always encodes
	}
	return kafkatx.Record{Topic: s.cfg.Names.Ledger(), Partition: number, Key: []byte(stream), Value: value}
}
