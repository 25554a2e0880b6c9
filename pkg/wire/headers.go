package wire

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"millrace/pkg/audit"
	"millrace/pkg/kafkatx"
)

// Header names: CloudEvents 1.0 in Kafka's binary mode, with extensions. The values are text.
const (
	HeaderContentType    = "content-type"
	HeaderSpecVersion    = "ce_specversion"
	HeaderID             = "ce_id"
	HeaderSource         = "ce_source"
	HeaderType           = "ce_type"
	HeaderTime           = "ce_time"
	HeaderSubject        = "ce_subject"
	HeaderDataSchema     = "ce_dataschema"
	HeaderTenant         = "ce_tenantid"
	HeaderDomain         = "ce_domain"
	HeaderRecordID       = "ce_recordid"
	HeaderWorkload       = "ce_workload"
	HeaderRecordType     = "ce_recordtype"
	HeaderFeed           = "ce_contenttype"
	HeaderContentID      = "ce_contentid"
	HeaderBlobIndex      = "ce_blobindex"
	HeaderContentCreated = "ce_contentcreated"
	HeaderFetched        = "ce_fetched"
	HeaderClass          = "ce_classuid"
	HeaderTypeUID        = "ce_typeuid"
	HeaderSeverity       = "ce_severityid"
	HeaderVariant        = "ce_variant"
	HeaderStage          = "ce_stage"
	HeaderReason         = "ce_reason"
	HeaderOrigin         = "ce_origin"
	HeaderPart           = "ce_part"
	HeaderParts          = "ce_parts"

	// HeaderTraceParent is W3C Trace Context: the blob that a record came in. It is the same on all topics.
	HeaderTraceParent = "traceparent"

	// HeaderErrorMessage is the detail of a refusal, under Kafka Connect's name.
	HeaderErrorMessage = "__connect.errors.exception.message"
)

// Values of the ce_type and ce_dataschema headers.
const (
	typeRaw        = "millrace.m365.raw.v1"
	typeEvent      = "millrace.m365.event.v1"
	typeEnriched   = "millrace.m365.enriched.v1"
	typeDeadLetter = "millrace.m365.deadletter.v1"

	schemaRaw      = "urn:millrace:schema:raw:v1"
	schemaEvent    = "urn:millrace:schema:event:v1"
	schemaEnriched = "urn:millrace:schema:enriched:v1"
)

// maxHeader bounds the text that a vendor record can put into one header.
const maxHeader = 512

// timeFormat is RFC 3339 in UTC with milliseconds, the form of every time in headers.
const timeFormat = "2006-01-02T15:04:05.000Z"

// headerWriter collects headers; all values lie in one buffer, so that a record costs two allocations.
type headerWriter struct {
	list []kafkatx.Header
	buf  []byte
}

func newHeaders(n int) *headerWriter {
	return &headerWriter{list: make([]kafkatx.Header, 0, n), buf: make([]byte, 0, 704)}
}

// text adds a header; empty text adds none, because CloudEvents attributes must not be empty.
func (w *headerWriter) text(key, value string) {
	if value == "" {
		return
	}
	start := len(w.buf)
	w.buf = append(w.buf, HeaderText(value)...)
	w.add(key, start)
}

func (w *headerWriter) int(key string, value int) {
	start := len(w.buf)
	w.buf = strconv.AppendInt(w.buf, int64(value), 10)
	w.add(key, start)
}

func (w *headerWriter) time(key string, value time.Time) {
	if value.IsZero() {
		return
	}
	start := len(w.buf)
	w.buf = value.UTC().AppendFormat(w.buf, timeFormat)
	w.add(key, start)
}

// traceParent adds the trace of a blob. Its ids are a hash of the blob's name, so that a redo writes the same bytes, and whoever knows a content id can find the
// trace. The flags say that no span was recorded.
func (w *headerWriter) traceParent(tenant audit.TenantID, contentID string) {
	sum := sha256.Sum256([]byte("millrace trace\x00" + string(tenant) + "\x00" + contentID))
	start := len(w.buf)
	w.buf = append(w.buf, "00-"...)
	w.buf = hex.AppendEncode(w.buf, sum[:16])
	w.buf = append(w.buf, '-')
	w.buf = hex.AppendEncode(w.buf, sum[16:24])
	w.buf = append(w.buf, "-00"...)
	w.add(HeaderTraceParent, start)
}

func (w *headerWriter) add(key string, start int) {
	w.list = append(w.list, kafkatx.Header{Key: key, Value: w.buf[start:len(w.buf):len(w.buf)]})
}

// HeaderText makes text fit for a CloudEvents attribute: bounded, without control characters, which the specification forbids.
func HeaderText(s string) string {
	if strings.ContainsFunc(s, unfit) {
		s = strings.Map(func(r rune) rune {
			if unfit(r) {
				return ' '
			}
			return r
		}, s)
	}
	if len(s) <= maxHeader {
		return s
	}
	s = s[:maxHeader]
	for !utf8.ValidString(s) {
		s = s[:len(s)-1]
	}
	return s
}

func unfit(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 || r == utf8.RuneError }

// Header is the value of a record's header; of repeated ones the last counts. Absent gives "".
func Header(rec kafkatx.Record, key string) string {
	for _, h := range slices.Backward(rec.Headers) {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}
