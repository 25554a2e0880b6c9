package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-faster/jx"
)

// Envelope holds the top-level members of a vendor record that routing needs. Of a repeated member the last one counts.
// Scalars of an unexpected type are taken by their text; objects, lists and null count as absent.
type Envelope struct {
	ID              string
	CreationTime    string
	Operation       string
	Workload        string
	UserID          string
	OrganizationID  string
	RecordType      int // -1 when absent or no integer
	UserType        int // -1 when absent or no integer
	AlertID         string
	IncidentID      string
	InvestigationID string
}

// ErrNotRecord is returned for bytes that are not one JSON object in valid UTF-8.
var ErrNotRecord = errors.New("not one JSON object in valid UTF-8")

// ParseEnvelope reads the routing members of a record. The whole record is checked for being valid JSON on the way. With
// ErrNotRecord the envelope is empty, and Key still gives such bytes a partition.
func ParseEnvelope(raw []byte) (Envelope, error) {
	e := Envelope{RecordType: -1, UserType: -1}
	if !utf8.Valid(raw) {
		return e, ErrNotRecord
	}
	d := jx.GetDecoder()
	defer jx.PutDecoder(d)
	d.ResetBytes(raw)
	if d.Next() != jx.Object {
		return e, ErrNotRecord
	}
	if err := d.ObjBytes(e.member); err != nil {
		return Envelope{RecordType: -1, UserType: -1}, ErrNotRecord
	}
	if !atEnd(d) {
		return Envelope{RecordType: -1, UserType: -1}, ErrNotRecord
	}
	return e, nil
}

// atEnd reports whether nothing but white space is left. Skip answers io.EOF itself, unwrapped, only there.
func atEnd(d *jx.Decoder) bool {
	err := d.Skip()
	return errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF)
}

func (e *Envelope) member(d *jx.Decoder, key []byte) error {
	text, number := e.field(key)
	switch {
	case text != nil:
		s, err := scalar(d)
		*text = s
		return err
	case number != nil:
		s, err := scalar(d)
		*number = integer(s)
		return err
	default:
		return d.Skip()
	}
}

// field is where a member belongs: one of the two, or neither.
func (e *Envelope) field(key []byte) (text *string, number *int) {
	switch string(key) {
	case "Id":
		return &e.ID, nil
	case "CreationTime":
		return &e.CreationTime, nil
	case "Operation":
		return &e.Operation, nil
	case "Workload":
		return &e.Workload, nil
	case "UserId":
		return &e.UserID, nil
	case "OrganizationId":
		return &e.OrganizationID, nil
	case "AlertId":
		return &e.AlertID, nil
	case "IncidentId":
		return &e.IncidentID, nil
	case "InvestigationId":
		return &e.InvestigationID, nil
	case "RecordType":
		return nil, &e.RecordType
	case "UserType":
		return nil, &e.UserType
	default:
		return nil, nil
	}
}

// scalar reads a string's content, or the text of a number or boolean; anything else is skipped and gives "".
func scalar(d *jx.Decoder) (string, error) {
	switch d.Next() {
	case jx.String:
		return d.Str()
	case jx.Number:
		n, err := d.Num()
		return n.String(), err
	case jx.Bool:
		b, err := d.Bool()
		return strconv.FormatBool(b), err
	default:
		return "", d.Skip()
	}
}

// integer is -1 for what is no integer.
func integer(s string) int {
	if n, err := strconv.Atoi(strings.TrimSpace(s)); err == nil {
		return n
	}
	return -1
}

// Key is the record key of design section 3: tenant, a colon, and the first of AlertId, IncidentId and InvestigationId; the
// lower-cased UserId when it is an address or a GUID and UserType is not System, Application or ServicePrincipal (4, 5, 6); Id;
// the SHA-256 of the record in hex. All copies of a record have one key, so they meet on one partition.
func (e Envelope) Key(tenant TenantID, raw []byte) string {
	for _, finding := range [...]string{e.AlertID, e.IncidentID, e.InvestigationID} {
		if finding != "" {
			return string(tenant) + ":" + bounded(finding)
		}
	}
	person := e.UserType != 4 && e.UserType != 5 && e.UserType != 6
	if person && (IsAddress(e.UserID) || IsGUID(e.UserID)) {
		return string(tenant) + ":" + strings.ToLower(e.UserID)
	}
	if e.ID != "" {
		return string(tenant) + ":" + bounded(e.ID)
	}
	sum := sha256.Sum256(raw)
	return string(tenant) + ":" + hex.EncodeToString(sum[:])
}

// maxKeyPart bounds what a hostile record can put into a Kafka key.
const maxKeyPart = 512

func bounded(s string) string {
	if len(s) <= maxKeyPart {
		return s
	}
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// IsAddress reports whether s has the form of a user principal name or mail address: one @, something before it, a dotted domain
// behind it, no blanks and none of the characters that mark the vendor's other kinds of names (claims, SIDs, DOMAIN\user).
func IsAddress(s string) bool {
	local, domain, ok := strings.Cut(s, "@")
	if !ok || local == "" || len(s) > 320 || strings.Contains(domain, "@") {
		return false
	}
	dot := strings.LastIndexByte(domain, '.')
	if dot < 1 || dot == len(domain)-1 {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune(`:\/|,;<>()[]"`, r) })
}
