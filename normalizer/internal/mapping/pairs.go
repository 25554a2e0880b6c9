package mapping

import (
	"bytes"
	"strings"

	"millrace/pkg/ocsf"
)

// The lists of pairs: Parameters, ExtendedProperties, DeviceProperties and OperationProperties are lists of objects with Name and
// Value; some records bring an object, or a string. ModifiedProperties has Name, OldValue and NewValue.

// pair is an entry of such a list, as written; what it does not have is nil.
type pair struct {
	name               []byte
	value, before, now []byte
}

// pairList is a list of pairs, taken apart at its first use.
type pairList struct {
	read    bool
	entries []pair
	object  []byte // where the field is an object of names and values instead
}

// pairs gives the entries of a field that holds such a list.
func (r *record) pairs(f field) *pairList {
	var l *pairList
	switch f {
	case fExtendedProperties:
		l = &r.lists[1]
	case fDeviceProperties:
		l = &r.lists[2]
	case fModifiedProperties:
		l = &r.lists[3]
	default: // fParameters
		l = &r.lists[0]
	}
	if l.read {
		return l
	}
	l.read = true
	raw := r.structure(f)
	if len(raw) > 0 && raw[0] == '{' {
		l.object = raw
		return l
	}
	c := cursor{raw: raw}
	for c.element() {
		var e pair
		m := cursor{raw: c.value}
		for m.member() {
			switch string(m.key) {
			case "Name", "Key":
				e.name = m.value
			case "Value":
				e.value = m.value
			case "OldValue":
				e.before = m.value
			case "NewValue":
				e.now = m.value
			}
		}
		if e.name != nil {
			l.entries = append(l.entries, e)
		}
	}
	return l
}

// forget empties the lists for the next record.
func (r *record) forget() {
	for i := range r.lists {
		l := &r.lists[i]
		clear(l.entries)
		if l.entries = l.entries[:0]; cap(l.entries) > 4096 {
			l.entries = nil
		}
		l.read, l.object = false, nil
	}
}

// pair is the value of the last pair of a name in a list or object; the name is compared without regard to letter case.
func (r *record) pair(f field, name string) []byte {
	if r.at[f] == 0 {
		return nil
	}
	l := r.pairs(f)
	for i := len(l.entries) - 1; i >= 0; i-- {
		if e := &l.entries[i]; e.value != nil && isText(e.name, name) {
			return e.value
		}
	}
	var found []byte
	p := cursor{raw: l.object}
	for p.member() {
		if strings.EqualFold(view(p.key), name) {
			found = p.value
		}
	}
	return found
}

func (r *record) pairText(f field, name string) string { return r.textOf(r.pair(f, name)) }

// isText reports whether raw is a string with the content s, without regard to letter case. Names with escapes do not occur.
func isText(raw []byte, s string) bool {
	return len(raw) == len(s)+2 && raw[0] == '"' && strings.EqualFold(view(raw[1:len(raw)-1]), s)
}

// modified is the value of a property in ModifiedProperties: what it was set to, else what it was.
func (r *record) modified(name string) string {
	if r.at[fModifiedProperties] == 0 {
		return ""
	}
	l := r.pairs(fModifiedProperties)
	for i := len(l.entries) - 1; i >= 0; i-- {
		e := &l.entries[i]
		if !isText(e.name, name) {
			continue
		}
		if s := r.inner(e.now); s != "" {
			return s
		}
		if s := r.inner(e.before); s != "" {
			return s
		}
	}
	return ""
}

// change is what a property in ModifiedProperties was and what it was set to; changed says whether it is there and not the same.
func (r *record) change(name string) (before, now string, changed bool) {
	if r.at[fModifiedProperties] == 0 {
		return "", "", false
	}
	for _, e := range r.pairs(fModifiedProperties).entries {
		if isText(e.name, name) {
			before, now = r.inner(e.before), r.inner(e.now)
			return before, now, before != now
		}
	}
	return "", "", false
}

// inner is the text of a value that is often JSON inside a string: quotes within the quotes come off.
func (r *record) inner(raw []byte) string {
	s := strings.TrimSpace(r.textOf(raw))
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		s = s[1 : len(s)-1]
	}
	if isPlaceholder(s) || s == "[]" || s == "{}" || s == "null" {
		return ""
	}
	return s
}

// pairMap writes a list of pairs as an object: a repeated name keeps all its values as a list. whole says that the object holds
// all there is, so that the field needs to be kept nowhere else. Nil when there is nothing.
func (r *record) pairMap(f field) (object ocsf.JSON, whole bool) {
	raw := r.structure(f)
	if len(raw) == 0 || isEmpty(raw) {
		return nil, false
	}
	direct := raw[0] == r.get(f)[0] // else it came out of a string, which stays where it was
	if raw[0] == '{' {
		return raw, direct
	}
	if raw[0] != '[' {
		return nil, false
	}
	whole = direct
	start := len(r.json)
	r.json = append(r.json, '{')
	n := 0
	list := cursor{raw: raw}
	for list.element() {
		name, value, ok := pairOf(list.value)
		if !ok {
			whole = false
			continue
		}
		if n++; n > smallRecord { // comparing each with each would take too long; the list stays where it is
			r.json = r.json[:start]
			return nil, false
		}
		if seen := r.repeatedPair(r.json[start:], name); seen {
			continue // written with the first of its name
		}
		r.json = append(r.json, name...)
		r.json = append(r.json, ':')
		r.json = r.appendPairValues(r.json, list, value, name)
		r.json = append(r.json, ',')
	}
	if len(r.json) == start+1 {
		r.json = r.json[:start]
		return nil, false
	}
	r.json = closeWith(r.json, '}')
	return r.json[start:len(r.json):len(r.json)], whole
}

// pairOf takes an element apart; ok is false when it is not exactly a name and a value.
func pairOf(element []byte) (name, value []byte, ok bool) {
	p := cursor{raw: element}
	members := 0
	for p.member() {
		members++
		switch string(p.key) {
		case "Name", "Key":
			name = p.value
		case "Value":
			value = p.value
		}
	}
	return name, value, members == 2 && value != nil && isPlainName(name)
}

// isPlainName reports whether raw is a string that is neither empty nor has escapes, so that names can be compared as written.
func isPlainName(raw []byte) bool {
	return len(raw) > 2 && raw[0] == '"' && bytes.IndexByte(raw, '\\') < 0
}

// repeatedPair reports whether the object under construction has the name already.
func (r *record) repeatedPair(object, name []byte) bool {
	if !bytes.Contains(object, name) {
		return false
	}
	object = append(bytes.TrimSuffix(bytes.Clone(object), []byte{','}), '}')
	c := cursor{raw: object}
	for c.member() {
		if bytes.Equal(c.name, name) {
			return true
		}
	}
	return false
}

// appendPairValues writes the value of a name, or the list of all its values when the rest of the list has more of them.
func (r *record) appendPairValues(dst []byte, rest cursor, first, name []byte) []byte {
	start := len(dst)
	dst = append(append(dst, '['), first...)
	several := false
	for rest.element() {
		if n, v, ok := pairOf(rest.value); ok && bytes.Equal(n, name) {
			dst = append(append(dst, ','), v...)
			several = true
		}
	}
	if !several {
		return append(dst[:start], first...)
	}
	return append(dst, ']')
}

// changes writes the old or the new values of ModifiedProperties as an object, without the empty ones; nil when there are none.
func (r *record) changes(after bool) ocsf.JSON {
	if r.at[fModifiedProperties] == 0 {
		return nil
	}
	start := len(r.json)
	r.json = append(r.json, '{')
	for i, e := range r.pairs(fModifiedProperties).entries {
		value := e.before
		if after {
			value = e.now
		}
		if i == smallRecord {
			break // comparing each name with each would take too long; the list is in unmapped
		}
		if !isPlainName(e.name) || value == nil || isEmpty(value) || r.repeatedPair(r.json[start:], e.name) {
			continue
		}
		r.json = append(r.json, e.name...)
		r.json = append(r.json, ':')
		r.json = append(r.json, value...)
		r.json = append(r.json, ',')
	}
	if len(r.json) == start+1 {
		r.json = r.json[:start]
		return nil
	}
	r.json = closeWith(r.json, '}')
	return r.json[start:len(r.json):len(r.json)]
}
