package mapping

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"unicode/utf8"
	"unsafe"

	"github.com/go-faster/jx"
)

// member is one top-level member of a record.
type member struct {
	key   []byte // decoded
	raw   []byte // the value, verbatim
	id    field
	used  bool // copied whole into an attribute
	again bool // a later member has the same name; that one counts
}

// record is a vendor record, split into its top-level members. Strings taken from it live as long as the caller's bytes and the
// arena do, which is until the next record.
type record struct {
	members  []member
	at       [numFields]int32 // place of a known field in members, + 1; 0 = absent
	repeated bool             // some name occurs more than once
	decoder  *jx.Decoder
	arena    []byte // decoded strings that had escapes
	scan     duplicateScan
	json     []byte // values built for attributes of free form
	lists    [4]pairList
	names    map[string]int32    // of records with many members
	older    map[string][][]byte // earlier values of names that occur more than once
}

func (r *record) init() { r.decoder = jx.DecodeBytes(nil) }

func (r *record) release() {
	clear(r.members)
	r.forget()
	r.decoder.ResetBytes(nil)
	if cap(r.members) > 4096 {
		r.members = nil
	}
	if cap(r.arena) > maxScratch {
		r.arena = nil
	}
	if cap(r.json) > maxScratch {
		r.json = nil
	}
	r.names, r.older = nil, nil
}

// maxDepth bounds the nesting of a record. It leaves room for what the event wraps around it below the decoder's own bound of
// 10,000, so that every later stage can read the event.
const maxDepth = 9_900

// smallRecord is up to how many members names are compared one by one.
const smallRecord = 64

// decode checks the record whole and splits it. It accepts what audit.ParseEnvelope accepts, but for the last levels of nesting.
func (r *record) decode(raw []byte) error {
	r.members, r.arena, r.json, r.repeated, r.names, r.older = r.members[:0], r.arena[:0], r.json[:0], false, nil, nil
	r.at = [numFields]int32{}
	if !utf8.Valid(raw) {
		return &Refusal{ReasonInvalidJSON, "the record is not valid UTF-8"}
	}
	d := r.decoder
	d.ResetBytes(raw)
	if d.Next() != jx.Object {
		return &Refusal{ReasonInvalidJSON, "the record is not a JSON object"}
	}
	if err := d.ObjBytes(r.member); err != nil {
		return &Refusal{ReasonInvalidJSON, "the record is not valid JSON"}
	}
	if err := d.Skip(); !errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return &Refusal{ReasonInvalidJSON, "something follows the record's JSON object"}
	}
	return r.checkValues()
}

func (r *record) member(d *jx.Decoder, key []byte) error {
	value, err := d.Raw()
	if err != nil {
		return err
	}
	m := member{key: key, raw: value[skipSpace(value, 0):], id: fieldOf(string(key))}
	if m.id != fUnknown {
		if old := r.at[m.id]; old != 0 {
			r.members[old-1].again, r.repeated = true, true
		}
		r.at[m.id] = int32(len(r.members)) + 1
	} else if old := r.findUnknown(key); old >= 0 {
		r.members[old].again, r.repeated = true, true
	}
	if r.names != nil {
		r.names[string(key)] = int32(len(r.members))
	}
	r.members = append(r.members, m)
	return nil
}

// findUnknown is the last member of an unknown name, or -1.
func (r *record) findUnknown(key []byte) int {
	if len(r.members) > smallRecord {
		if r.names == nil {
			r.names = make(map[string]int32, 4*smallRecord)
			for i := range r.members {
				r.names[string(r.members[i].key)] = int32(i)
			}
		}
		if i, ok := r.names[string(key)]; ok {
			return int(i)
		}
		return -1
	}
	for i, v := range slices.Backward(r.members) {
		if v.id == fUnknown && bytes.Equal(v.key, key) {
			return i
		}
	}
	return -1
}

// checkValues looks into objects and lists: too deep is refused, repeated names are folded into lists, since an event must not have
// a name twice in one object.
func (r *record) checkValues() error {
	for i := range r.members {
		m := &r.members[i]
		if c := m.raw[0]; c != '{' && c != '[' {
			continue
		}
		switch r.scan.check(m.raw) {
		case scanTooDeep:
			return &Refusal{ReasonInvalidJSON, "the record is nested too deeply"}
		case scanRepeated:
			m.raw = r.scan.fold(m.raw)
		case scanClean:
		}
	}
	return nil
}

// get is the raw value of a field, or nil.
func (r *record) get(f field) []byte {
	if i := r.at[f]; i != 0 {
		return r.members[i-1].raw
	}
	return nil
}

// structure is the object or list in a field. Some records bring it as a string that holds JSON.
func (r *record) structure(f field) []byte {
	raw := r.get(f)
	if len(raw) < 4 || raw[0] != '"' || raw[1] != '[' && raw[1] != '{' {
		return raw
	}
	inner := []byte(r.unquote(raw))
	if !jx.Valid(inner) || r.scan.check(inner) == scanTooDeep {
		return raw
	}
	if r.scan.result == scanRepeated {
		return r.scan.fold(inner)
	}
	return inner
}

// use marks a field as copied whole.
func (r *record) use(f field) {
	if i := r.at[f]; i != 0 {
		r.members[i-1].used = true
	}
}

// unuse takes use back.
func (r *record) unuse(f field) {
	if i := r.at[f]; i != 0 {
		r.members[i-1].used = false
	}
}

// text is the content of a string, or the text of a number or truth value; "" for anything else, for an absent field and for the
// vendor's placeholders.
func (r *record) text(f field) string { return r.textOf(r.get(f)) }

// take is text, and marks the field as copied when there is any.
func (r *record) take(f field) string {
	s := r.text(f)
	if s != "" {
		r.use(f)
	}
	return s
}

// takeFirst takes the first of the fields that has text.
func (r *record) takeFirst(fields ...field) string {
	for _, f := range fields {
		if s := r.take(f); s != "" {
			return s
		}
	}
	return ""
}

// textOf is text for any raw value.
func (r *record) textOf(raw []byte) string {
	if len(raw) == 0 {
		return ""
	}
	switch raw[0] {
	case '"':
		s := r.unquote(raw)
		if isPlaceholder(s) {
			return ""
		}
		return s
	case '{', '[', 'n':
		return ""
	}
	return view(raw)
}

// unquote is the content of a JSON string.
func (r *record) unquote(raw []byte) string {
	inner := raw[1 : len(raw)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return view(inner)
	}
	r.decoder.ResetBytes(raw)
	start := len(r.arena)
	out, err := r.decoder.StrAppend(r.arena)
	if err != nil { // the record was checked: cannot be
		return ""
	}
	r.arena = out
	return view(out[start:])
}

// view is b as a string without a copy. What it is made from does not change while the record is mapped: the caller's bytes are
// read only, and the arena is only appended to. Nothing that outlives Map may keep such a string; the encoded event is a copy.
func view(b []byte) string {
	return unsafe.String(unsafe.SliceData(b), len(b)) //nolint:gosec // the comment above says why it is safe
}

// isPlaceholder reports whether the vendor's text means nothing.
func isPlaceholder(s string) bool {
	switch s {
	case "", "Unknown", "Not Available", "<null>", "undefined":
		return true
	}
	return false
}

// isEmpty reports whether a raw value says nothing: null, an empty string, list or object, or a placeholder.
func isEmpty(raw []byte) bool {
	switch raw[0] {
	case 'n':
		return true
	case '"':
		return isPlaceholder(view(raw[1 : len(raw)-1]))
	case '[', '{':
		return len(bytes.TrimSpace(raw[1:len(raw)-1])) == 0
	}
	return false
}

// find is the raw value of a member of an object; the last one counts. Nil when raw is no object or has no such member.
func find(raw []byte, name string) []byte {
	var found []byte
	s := cursor{raw: raw}
	for s.member() {
		if string(s.key) == name {
			found = s.value
		}
	}
	return found
}

// path is find along several names.
func path(raw []byte, names ...string) []byte {
	for _, n := range names {
		raw = find(raw, n)
		if raw == nil {
			return nil
		}
	}
	return raw
}

// part is the text of a member of an object-valued field.
func (r *record) part(f field, names ...string) string {
	return r.textOf(path(r.structure(f), names...))
}
