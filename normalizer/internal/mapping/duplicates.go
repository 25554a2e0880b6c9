package mapping

import (
	"bytes"

	"github.com/go-faster/jx"

	"millrace/pkg/ocsf"
)

type scanResult uint8

const (
	scanClean scanResult = iota
	scanRepeated
	scanTooDeep
)

// duplicateScan looks for names that occur twice in one object. Its scratch space is kept between calls.
type duplicateScan struct {
	keys   [][]byte // of the objects that are open, innermost last
	result scanResult
}

// check scans a value that is known to be valid JSON.
func (s *duplicateScan) check(raw []byte) scanResult {
	s.keys, s.result = s.keys[:0], scanClean
	s.value(raw, 0, 1)
	return s.result
}

// value scans the value at i and returns the place behind it.
func (s *duplicateScan) value(raw []byte, i, depth int) int {
	if depth > maxDepth {
		s.result = scanTooDeep
		return len(raw)
	}
	switch raw[i] {
	case '{':
		return s.object(raw, i, depth)
	case '[':
		for i = skipSpace(raw, i+1); i < len(raw) && raw[i] != ']'; {
			i = skipSpace(raw, s.value(raw, i, depth+1))
			if i < len(raw) && raw[i] == ',' {
				i = skipSpace(raw, i+1)
			}
		}
		return i + 1
	}
	return skipValue(raw, i)
}

func (s *duplicateScan) object(raw []byte, i, depth int) int {
	base := len(s.keys)
	var names map[string]bool
	for i = skipSpace(raw, i+1); i < len(raw) && raw[i] != '}'; {
		end := skipString(raw, i)
		key := plainKey(raw[i:end])
		switch {
		case names != nil:
			if names[string(key)] {
				s.repeat()
			}
			names[string(key)] = true
		case s.among(base, key):
			s.repeat()
		default:
			s.keys = append(s.keys, key)
			if len(s.keys)-base > smallRecord {
				names = make(map[string]bool, 4*smallRecord)
				for _, k := range s.keys[base:] {
					names[string(k)] = true
				}
			}
		}
		i = skipSpace(raw, skipSpace(raw, end)+1)
		i = skipSpace(raw, s.value(raw, i, depth+1))
		if i < len(raw) && raw[i] == ',' {
			i = skipSpace(raw, i+1)
		}
	}
	s.keys = s.keys[:base]
	return i + 1
}

func (s *duplicateScan) repeat() {
	if s.result == scanClean {
		s.result = scanRepeated
	}
}

func (s *duplicateScan) among(base int, key []byte) bool {
	for _, k := range s.keys[base:] {
		if bytes.Equal(k, key) {
			return true
		}
	}
	return false
}

// plainKey is the content of a quoted name.
func plainKey(quoted []byte) []byte {
	inner := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return inner
	}
	plain, err := jx.DecodeBytes(quoted).StrBytes()
	if err != nil { // the record was checked: cannot be
		return inner
	}
	return plain
}

// fold writes the value anew with each repeated name once, its values as a list in order of appearance. Such records are rare
// enough for the plain way.
func (s *duplicateScan) fold(raw []byte) []byte { return appendFolded(nil, raw) }

func appendFolded(dst, raw []byte) []byte {
	c := cursor{raw: raw}
	switch raw[skipSpace(raw, 0)] {
	case '[':
		dst = append(dst, '[')
		for c.element() {
			dst = append(appendFolded(dst, c.value), ',')
		}
		return closeWith(dst, ']')
	case '{':
		var order []string
		values := map[string][][]byte{}
		for c.member() {
			key := string(plainKey(c.name))
			if _, ok := values[key]; !ok {
				order = append(order, key)
			}
			values[key] = append(values[key], c.value)
		}
		dst = append(dst, '{')
		for _, key := range order {
			dst = append(ocsf.AppendString(dst, key), ':')
			dst = append(appendValues(dst, values[key]), ',')
		}
		return closeWith(dst, '}')
	}
	return append(dst, raw...)
}

// appendValues writes one value as it is and several as a list.
func appendValues(dst []byte, values [][]byte) []byte {
	if len(values) == 1 {
		return appendFolded(dst, values[0])
	}
	dst = append(dst, '[')
	for _, v := range values {
		dst = append(appendFolded(dst, v), ',')
	}
	return closeWith(dst, ']')
}

// closeWith turns a trailing comma into the closing bracket, or appends it.
func closeWith(dst []byte, bracket byte) []byte {
	if dst[len(dst)-1] == ',' {
		dst[len(dst)-1] = bracket
		return dst
	}
	return append(dst, bracket)
}
