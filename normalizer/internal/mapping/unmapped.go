package mapping

import (
	"slices"
	"strings"

	"millrace/pkg/audit"
	"millrace/pkg/ocsf"
)

// unmapped is what no attribute holds whole: the vendor's fields under their own names and with their own structure, without the
// empty ones. Of a name that occurs several times all values are kept, as a list.
func (w *worker) unmapped() ocsf.JSON {
	r := &w.record
	start := len(r.json)
	r.json = append(r.json, '{')
	mask := w.sensitive() && !w.options.DLPClear
	for i := range r.members {
		m := &r.members[i]
		if m.used || m.again || isEmpty(m.raw) && !r.repeated {
			continue
		}
		raw := m.raw
		if w.only != nil && m.id == fMembers {
			raw = w.only
		}
		if r.repeated {
			r.appendRepeated(i, raw, mask)
			continue
		}
		r.appendMember(m.key, raw, mask)
	}
	if r.repeated {
		r.appendLeftovers(mask)
	}
	if len(r.json) == start+1 {
		r.json = r.json[:start]
		return nil
	}
	r.json = closeWith(r.json, '}')
	return r.json[start:len(r.json):len(r.json)]
}

func (r *record) appendMember(key, raw []byte, mask bool) {
	r.json = append(ocsf.AppendString(r.json, view(key)), ':')
	r.json = appendValue(r.json, raw, mask)
	r.json = append(r.json, ',')
}

func appendValue(dst, raw []byte, mask bool) []byte {
	if mask && (raw[0] == '{' || raw[0] == '[' || raw[0] == '"') {
		return appendMasked(dst, raw)
	}
	return append(dst, raw...)
}

// appendRepeated writes the last member of a name with the earlier ones of that name, if there are any that say something.
func (r *record) appendRepeated(last int, raw []byte, mask bool) {
	values := r.earlier(last)
	if !isEmpty(raw) {
		values = append(values, raw)
	}
	r.appendList(r.members[last].key, values, mask)
}

// appendLeftovers writes the earlier values of names whose last value is in an attribute.
func (r *record) appendLeftovers(mask bool) {
	for i := range r.members {
		if m := &r.members[i]; m.used && !m.again {
			r.appendList(m.key, r.earlier(i), mask)
		}
	}
}

// earlier are the values of a name before the last one, without the empty ones.
func (r *record) earlier(last int) [][]byte {
	if r.older == nil {
		r.older = map[string][][]byte{}
		for i := range r.members {
			if m := &r.members[i]; m.again && !isEmpty(m.raw) {
				r.older[string(m.key)] = append(r.older[string(m.key)], m.raw)
			}
		}
	}
	return slices.Clip(r.older[string(r.members[last].key)])
}

func (r *record) appendList(key []byte, values [][]byte, mask bool) {
	switch len(values) {
	case 0:
	case 1:
		r.appendMember(key, values[0], mask)
	default:
		r.json = append(ocsf.AppendString(r.json, view(key)), ":["...)
		for _, v := range values {
			r.json = append(appendValue(r.json, v, mask), ',')
		}
		r.json = append(closeWith(r.json, ']'), ',')
	}
}

// sensitive reports whether the record may hold text that a DLP rule matched.
func (w *worker) sensitive() bool {
	return w.rec.Domain == audit.DomainDLP || w.class == ocsf.ClassDataSecurityFinding || w.record.get(fPolicyDetails) != nil
}

// isMatched reports whether a member holds the matched text, or the text around it.
func isMatched(key string) bool {
	for _, name := range [...]string{
		"DetectedValues", "SensitiveInformationDetections", "MatchedText", "MatchedContent", "DetectedText", "SurroundingText",
	} {
		if strings.EqualFold(key, name) {
			return true
		}
	}
	return false
}
