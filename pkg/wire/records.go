package wire

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"millrace/pkg/audit"
	"millrace/pkg/kafkatx"
)

// Size limits of one encoded value. A larger one becomes a dead letter; it never stands in the way of its partition.
const (
	MaxRaw        = 8 << 20
	MaxEvent      = 16 << 20
	MaxDeadLetter = 9 << 20
)

// RawRecord puts a vendor record on its raw topic: verbatim, with its key, its partition and its provenance in headers. The Kafka
// timestamp is the time of the fetch.
func RawRecord(n Names, partitions int, r audit.Record, env audit.Envelope) kafkatx.Record {
	key := []byte(env.Key(r.Tenant, r.Raw))
	h := newHeaders(19)
	h.text(HeaderContentType, "application/json")
	h.text(HeaderSpecVersion, "1.0")
	h.text(HeaderID, r.ContentID+"/"+strconv.Itoa(r.Index))
	h.text(HeaderSource, "/m365/"+string(r.Tenant))
	h.text(HeaderType, typeRaw)
	if at, err := audit.ParseTime(env.CreationTime); err == nil {
		h.time(HeaderTime, at)
	}
	h.text(HeaderSubject, env.Operation)
	h.text(HeaderDataSchema, schemaRaw)
	h.text(HeaderTenant, string(r.Tenant))
	h.text(HeaderDomain, string(r.Domain))
	h.text(HeaderRecordID, env.ID)
	h.text(HeaderWorkload, env.Workload)
	if env.RecordType >= 0 {
		h.int(HeaderRecordType, env.RecordType)
	}
	h.text(HeaderFeed, r.ContentType)
	h.text(HeaderContentID, r.ContentID)
	h.int(HeaderBlobIndex, r.Index)
	h.time(HeaderContentCreated, r.Created)
	h.time(HeaderFetched, r.Fetched)
	h.traceParent(r.Tenant, r.ContentID)
	return kafkatx.Record{
		Topic: n.Raw(r.Source), Partition: kafkatx.Partition(key, partitions), Time: r.Fetched, Key: key, Value: r.Raw, Headers: h.list,
	}
}

// ErrProvenance is wrapped by the errors of ParseRaw: the record was not written by RawRecord.
var ErrProvenance = errors.New("raw record without its provenance headers")

// ParseRaw reads a raw record back: the value verbatim, the provenance from the headers.
func ParseRaw(rec kafkatx.Record) (audit.Record, error) {
	r := audit.Record{Raw: rec.Value}
	r.Source = sourceOf(rec.Topic)
	var index, created, fetched string
	for _, h := range rec.Headers {
		switch h.Key {
		case HeaderTenant:
			r.Tenant = audit.TenantID(h.Value)
		case HeaderDomain:
			r.Domain = audit.Domain(h.Value)
		case HeaderFeed:
			r.ContentType = string(h.Value)
		case HeaderContentID:
			r.ContentID = string(h.Value)
		case HeaderBlobIndex:
			index = string(h.Value)
		case HeaderContentCreated:
			created = string(h.Value)
		case HeaderFetched:
			fetched = string(h.Value)
		}
	}
	var errs [3]error
	r.Index, errs[0] = strconv.Atoi(index)
	r.Created, errs[1] = time.Parse(time.RFC3339, created)
	r.Fetched, errs[2] = time.Parse(time.RFC3339, fetched)
	if errors.Join(errs[:]...) != nil || r.Source == "" || r.Tenant == "" || r.Domain == "" || r.ContentID == "" {
		return r, fmt.Errorf("%s/%d offset %d: %w", rec.Topic, rec.Partition, rec.Offset, ErrProvenance)
	}
	return r, nil
}

// Event is a normalized event on its way to its topic.
type Event struct {
	UID        string // metadata.uid
	ClassUID   int
	TypeUID    int
	SeverityID int
	TimeMillis int64 // when it happened, epoch milliseconds
	Workload   audit.Workload
	Variant    bool   // another record of the same Id, with other content, was published before
	Value      []byte // OCSF JSON
}

// EventRecord puts an event on its topic, with the key and the partition number of the raw record it was made from.
func EventRecord(n Names, raw kafkatx.Record, ev Event) kafkatx.Record {
	h := newHeaders(len(raw.Headers) + 5)
	for _, in := range raw.Headers {
		switch in.Key {
		case HeaderID:
			h.text(HeaderID, ev.UID)
		case HeaderType:
			h.text(HeaderType, typeEvent)
		case HeaderDataSchema:
			h.text(HeaderDataSchema, schemaEvent)
		case HeaderTime: // replaced below
		default:
			h.list = append(h.list, in)
		}
	}
	h.time(HeaderTime, time.UnixMilli(ev.TimeMillis))
	h.int(HeaderClass, ev.ClassUID)
	h.int(HeaderTypeUID, ev.TypeUID)
	h.int(HeaderSeverity, ev.SeverityID)
	if ev.Variant {
		h.text(HeaderVariant, "true")
	}
	return kafkatx.Record{Topic: n.Events(ev.Workload), Partition: raw.Partition, Key: raw.Key, Value: ev.Value, Headers: h.list}
}

// EnrichedRecord puts an enriched event on the topic beside the one it was read from, with the same key, number and headers.
func EnrichedRecord(n Names, event kafkatx.Record, value []byte) kafkatx.Record {
	h := make([]kafkatx.Header, len(event.Headers))
	for i, in := range event.Headers {
		switch in.Key {
		case HeaderType:
			in.Value = []byte(typeEnriched)
		case HeaderDataSchema:
			in.Value = []byte(schemaEnriched)
		}
		h[i] = in
	}
	topic := n.Prefix + ".enriched." + strings.TrimPrefix(event.Topic, n.Prefix+".events.")
	return kafkatx.Record{Topic: topic, Partition: event.Partition, Key: event.Key, Value: value, Headers: h}
}
