package mapping

import (
	"strconv"
	"unicode/utf8"

	"github.com/go-faster/jx"

	"millrace/pkg/ocsf"
)

// appendMasked writes a value with the text that DLP rules matched taken out. Structure, types, counts and the length of each text
// stay.
func appendMasked(dst, raw []byte) []byte { return masker{}.value(dst, raw, false) }

type masker struct{ depth int }

// maxEmbedded is how deep JSON inside a string inside JSON is looked into.
const maxEmbedded = 3

func (m masker) value(dst, raw []byte, matched bool) []byte {
	switch raw[0] {
	case '{':
		c := cursor{raw: raw}
		dst = append(dst, '{')
		for n := 1; c.member(); n++ {
			dst = m.name(dst, c.key, n, matched)
			dst = m.value(dst, c.value, matched || isMatched(view(plainKey(c.name))))
			dst = append(dst, ',')
		}
		return closeWith(dst, '}')
	case '[':
		c := cursor{raw: raw}
		dst = append(dst, '[')
		for c.element() {
			dst = append(m.value(dst, c.value, matched), ',')
		}
		return closeWith(dst, ']')
	case '"':
		return m.text(dst, raw, matched)
	}
	if matched && raw[0] != 'n' && raw[0] != 't' && raw[0] != 'f' {
		return appendLength(dst, len(raw)) // a number can be the matched text too
	}
	return append(dst, raw...)
}

// name writes the name of the nth member. Within matched text only the names that the vendor is known to use are kept: in another
// shape of the list the matched text could be the name.
func (m masker) name(dst, key []byte, n int, matched bool) []byte {
	switch string(key) {
	case "Name", "Value", "Key", "DetectedValues", "ResultsTruncated":
		matched = false
	}
	if !matched {
		return append(append(append(dst, '"'), key...), `":`...)
	}
	dst = append(dst, `"masked `...)
	dst = strconv.AppendInt(dst, int64(n), 10)
	return append(dst, `":`...)
}

// text masks a matched string; one that holds JSON is looked into.
func (m masker) text(dst, raw []byte, matched bool) []byte {
	if len(raw) < 3 {
		return append(dst, raw...)
	}
	if !matched && raw[1] != '{' && raw[1] != '[' && raw[1] != '\\' {
		return append(dst, raw...)
	}
	s, err := jx.DecodeBytes(raw).Str()
	if err != nil { // the record was checked: cannot be
		return appendLength(dst, len(raw))
	}
	if matched {
		return appendLength(dst, utf8.RuneCountInString(s))
	}
	if (s[0] == '{' || s[0] == '[') && m.depth < maxEmbedded && jx.Valid([]byte(s)) {
		inner := masker{m.depth + 1}.value(nil, []byte(s), false)
		return ocsf.AppendString(dst, string(inner))
	}
	return append(dst, raw...)
}

func appendLength(dst []byte, n int) []byte {
	dst = append(dst, `"masked, length `...)
	dst = strconv.AppendInt(dst, int64(n), 10)
	return append(dst, '"')
}
