package mapping

import (
	"bytes"
	"strings"

	"millrace/pkg/ocsf"
)

// The lists of pairs: Parameters, ExtendedProperties, DeviceProperties and OperationProperties are lists of objects with Name and
// Value; some records bring an object, or a string. ModifiedProperties has Name, OldValue and NewValue.

// pair is the value of the last pair of a name in a list or object; the name is compared without regard to letter case.
func (r *record) pair(f field, name string) []byte {
	var found []byte
	raw := r.structure(f)
	list := cursor{raw: raw}
	for list.element() {
		var value []byte
		fits := false
		p := cursor{raw: list.value}
		for p.member() {
			switch string(p.key) {
			case "Name", "Key":
				fits = isText(p.value, name)
			case "Value":
				value = p.value
			}
		}
		if fits && value != nil {
			found = value
		}
	}
	if found != nil || len(raw) == 0 || raw[0] != '{' {
		return found
	}
	p := cursor{raw: raw}
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
	var found string
	list := cursor{raw: r.structure(fModifiedProperties)}
	for list.element() {
		var before, after []byte
		fits := false
		p := cursor{raw: list.value}
		for p.member() {
			switch string(p.key) {
			case "Name":
				fits = isText(p.value, name)
			case "NewValue":
				after = p.value
			case "OldValue":
				before = p.value
			}
		}
		if !fits {
			continue
		}
		if s := r.inner(after); s != "" {
			found = s
		} else if s := r.inner(before); s != "" {
			found = s
		}
	}
	return found
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
		if bytes.Equal(quotedKey(&c), name) {
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
func (r *record) changes(which string) ocsf.JSON {
	start := len(r.json)
	r.json = append(r.json, '{')
	list := cursor{raw: r.structure(fModifiedProperties)}
	for n := 0; list.element() && n < smallRecord; n++ {
		name, value := find(list.value, "Name"), find(list.value, which)
		if !isPlainName(name) || value == nil || isEmpty(value) || r.repeatedPair(r.json[start:], name) {
			continue
		}
		r.json = append(r.json, name...)
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
