package wire

import (
	"fmt"
	"strconv"
	"strings"

	"millrace/pkg/audit"
	"millrace/pkg/kafkatx"
)

// Reason says why a record was refused; the set is closed, because it is a metric label and a filter.
type Reason string

// The reasons.
const (
	ReasonInvalidJSON   Reason = "invalid_json"   // not one JSON object in valid UTF-8
	ReasonNoTime        Reason = "no_time"        // no CreationTime that is a time
	ReasonNoID          Reason = "no_id"          // no Id
	ReasonTooLarge      Reason = "too_large"      // over the size limit of its topic
	ReasonNoProvenance  Reason = "no_provenance"  // a message on a raw topic that no ingester wrote
	ReasonMappingFailed Reason = "mapping_failed" // a defect of ours; redrive after the fix
	ReasonInvalidEvent  Reason = "invalid_event"  // a message on an events topic that is no event
	ReasonBadRow        Reason = "bad_row"        // a row of an imported file that is no record
	ReasonCutShort      Reason = "cut_short"      // the rest of a blob that never arrived whole
)

// Reasons lists the closed set.
func Reasons() []Reason {
	return []Reason{
		ReasonInvalidJSON, ReasonNoTime, ReasonNoID, ReasonTooLarge, ReasonNoProvenance, ReasonMappingFailed, ReasonInvalidEvent,
		ReasonBadRow, ReasonCutShort,
	}
}

// DeadLetter refuses a record: its bytes verbatim, everything else in headers, on the dead-letter topic's partition of the same
// number. in.Topic is the topic it was read from, or the raw topic that it was meant for, then with a negative offset. Bytes over
// MaxDeadLetter go in numbered parts.
func DeadLetter(n Names, in kafkatx.Record, stage string, reason Reason, detail string) []kafkatx.Record {
	topic := n.DeadLetter(carriesDLP(in))
	parts := max(1, (len(in.Value)+MaxDeadLetter-1)/MaxDeadLetter)
	out := make([]kafkatx.Record, 0, parts)
	for p := range parts {
		value := in.Value[min(p*MaxDeadLetter, len(in.Value)):min((p+1)*MaxDeadLetter, len(in.Value))]
		rec := kafkatx.Record{Topic: topic, Partition: in.Partition, Key: in.Key, Value: value}
		rec.Headers = deadLetterHeaders(in, stage, reason, detail)
		if parts > 1 {
			rec.Headers = append(rec.Headers,
				kafkatx.Header{Key: HeaderPart, Value: strconv.AppendInt(nil, int64(p+1), 10)},
				kafkatx.Header{Key: HeaderParts, Value: strconv.AppendInt(nil, int64(parts), 10)})
		}
		out = append(out, rec)
	}
	return out
}

// carriesDLP errs on the side of the closed topic: one mark is enough. A record type of DLP matches is one, since such a record
// also comes in audit content types.
func carriesDLP(in kafkatx.Record) bool {
	if Header(in, HeaderDomain) == string(audit.DomainDLP) || strings.HasSuffix(in.Topic, ".dlp.v1") {
		return true
	}
	recordType, err := strconv.Atoi(Header(in, HeaderRecordType))
	return err == nil && DomainOf(recordType) == audit.DomainDLP
}

func deadLetterHeaders(in kafkatx.Record, stage string, reason Reason, detail string) []kafkatx.Header {
	h := newHeaders(len(in.Headers) + 14)
	origin := fmt.Sprintf("%s/%d/%d", in.Topic, in.Partition, in.Offset)
	ours := false
	for _, old := range in.Headers {
		switch old.Key {
		case HeaderType:
			h.text(HeaderType, typeDeadLetter)
			ours = true
		case HeaderDataSchema: // the bytes promise no schema
		default:
			if !aboutRefusal(old.Key) { // of an earlier refusal, when a redriven record is refused again
				h.list = append(h.list, old)
			}
		}
	}
	if !ours { // a message that none of our stages wrote: still give it the attributes that CloudEvents requires
		h.text(HeaderSpecVersion, "1.0")
		h.text(HeaderID, origin)
		h.text(HeaderSource, "/m365/unknown")
		h.text(HeaderType, typeDeadLetter)
	}
	h.text(HeaderStage, stage)
	h.text(HeaderReason, string(reason))
	h.text(HeaderOrigin, origin)
	h.text("__connect.errors.topic", in.Topic)
	h.int("__connect.errors.partition", int(in.Partition))
	h.int("__connect.errors.offset", int(in.Offset))
	h.text("__connect.errors.connector.name", "millrace")
	h.text("__connect.errors.stage", stage)
	h.text("__connect.errors.exception.class.name", string(reason))
	h.text(HeaderErrorMessage, detail)
	return h.list
}

// aboutRefusal reports whether a header was put there by DeadLetter.
func aboutRefusal(key string) bool {
	switch key {
	case HeaderStage, HeaderReason, HeaderOrigin, HeaderPart, HeaderParts:
		return true
	}
	return strings.HasPrefix(key, "__connect.errors.")
}

// Redrive turns a dead letter back into the raw record that was refused, on the redrive topic: the same bytes, key, number and
// provenance. Dead letters in parts and those without provenance cannot be redriven.
func Redrive(n Names, dead kafkatx.Record) (kafkatx.Record, error) {
	if stage := Header(dead, HeaderStage); stage == StageEnricher {
		return kafkatx.Record{}, fmt.Errorf("dead letter %s: it was an event already, refused by the %s: redrive puts records back, not events", Header(dead, HeaderOrigin), stage)
	}
	if Header(dead, HeaderPart) != "" {
		return kafkatx.Record{}, fmt.Errorf("dead letter %s: one part of a record that is too large", Header(dead, HeaderOrigin))
	}
	raw := kafkatx.Record{Topic: n.Raw(audit.SourceRedrive), Partition: dead.Partition, Key: dead.Key, Value: dead.Value}
	h := newHeaders(len(dead.Headers))
	for _, old := range dead.Headers {
		switch {
		case old.Key == HeaderType:
			h.text(HeaderType, typeRaw)
			h.text(HeaderDataSchema, schemaRaw)
		case !aboutRefusal(old.Key):
			h.list = append(h.list, old)
		}
	}
	raw.Headers = h.list
	if _, err := ParseRaw(raw); err != nil {
		return kafkatx.Record{}, fmt.Errorf("dead letter %s: %w", Header(dead, HeaderOrigin), ErrProvenance)
	}
	return raw, nil
}
