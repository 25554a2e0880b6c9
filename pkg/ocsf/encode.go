package ocsf

import (
	"strconv"
	"unicode/utf8"
)

// maxObservables bounds the list of observables of one event.
const maxObservables = 64

// Event is one event about to be encoded. It can be used again after Reset and must not be used concurrently.
type Event struct {
	Class    Class
	Activity Enum
	Time     int64 // milliseconds since 1970, UTC
	Attributes

	encoder encoder
}

// Reset clears the event and keeps the space of its lists.
func (v *Event) Reset() {
	v.Class, v.Activity, v.Time = 0, Enum{}, 0
	v.reset()
}

// TypeUID is the event's type_uid.
func (v *Event) TypeUID() int { return int(v.Class)*100 + v.Activity.ID() }

// Append appends the event as JSON to dst: classification, attributes in the order of the table, and the observables found on the
// way. Absent attributes and objects in which everything is absent are left out. The class must be one of Classes.
func (v *Event) Append(dst []byte) []byte {
	e := &v.encoder
	e.buf, e.path, e.seen, e.names, e.quiet = dst, e.path[:0], e.seen[:0], e.names[:0], 0
	e.class = v.Class.info()
	e.buf = append(e.buf, '{')
	v.classification(e)
	v.Attributes.append(e)
	e.observables()
	e.buf[len(e.buf)-1] = '}' // the comma behind the last member
	dst, e.buf = e.buf, nil
	return dst
}

func (v *Event) classification(e *encoder) {
	c := e.class
	e.number(`"category_uid":`, int64(c.category))
	e.text(`"category_name":`, 0, c.categoryName)
	e.number(`"class_uid":`, int64(c.uid))
	e.text(`"class_name":`, 0, c.caption)
	e.enum(`"activity_id":`, `"activity_name":`, c.activity, v.Activity)
	e.number(`"type_uid":`, int64(v.TypeUID()))
	caption, _ := c.activity.caption(v.Activity.ID())
	e.buf = append(e.buf, `"type_name":"`...)
	e.buf = append(e.buf, c.caption...)
	e.buf = append(e.buf, ": "...)
	e.buf = append(e.buf, caption...)
	e.buf = append(e.buf, `","time":`...)
	e.buf = strconv.AppendInt(e.buf, v.Time, 10)
	e.buf = append(e.buf, `,"timezone_offset":0,`...)
}

type encoder struct {
	buf   []byte
	class *classInfo
	path  []byte // of the object that is being written, as observables name it, with a trailing dot
	names []byte // paths of the observables seen, one after the other
	seen  []observable
	quiet int // > 0: no observables in here
}

type observable struct {
	kind  int
	value string
	end   int // of its path within names
}

// object is where an open object started.
type object struct{ key, start, path int }

// open begins an object member. Every member is written with a comma behind it; close turns the last one into the bracket.
func (e *encoder) open(key string) object {
	o := object{key: len(e.buf), path: len(e.path)}
	e.buf = append(e.buf, key...)
	e.buf = append(e.buf, '{')
	o.start = len(e.buf)
	e.path = append(e.path, key[1:len(key)-2]...)
	e.path = append(e.path, '.')
	return o
}

func (e *encoder) close(o object) {
	e.path = e.path[:o.path]
	if len(e.buf) == o.start {
		e.buf = e.buf[:o.key]
		return
	}
	e.buf[len(e.buf)-1] = '}'
	e.buf = append(e.buf, ',')
}

func (e *encoder) openList(key string) object {
	o := object{key: len(e.buf), path: len(e.path)}
	e.buf = append(e.buf, key...)
	e.buf = append(e.buf, '[')
	o.start = len(e.buf)
	e.path = append(e.path, key[1:len(key)-2]...)
	return o
}

func (e *encoder) openElement(i int) object {
	o := object{key: len(e.buf), path: len(e.path)}
	e.buf = append(e.buf, '{')
	o.start = len(e.buf)
	e.path = append(e.path, '[')
	e.path = strconv.AppendInt(e.path, int64(i), 10)
	e.path = append(e.path, "]."...)
	return o
}

func (e *encoder) closeList(o object) {
	e.path = e.path[:o.path]
	if len(e.buf) == o.start {
		e.buf = e.buf[:o.key]
		return
	}
	e.buf[len(e.buf)-1] = ']'
	e.buf = append(e.buf, ',')
}

func (e *encoder) text(key string, kind int, s string) {
	if s == "" {
		return
	}
	e.buf = append(e.buf, key...)
	e.string(s)
	e.buf = append(e.buf, ',')
	if kind != 0 && e.quiet == 0 {
		e.observe(key, -1, kind, s)
	}
}

// string writes s. What needs no escape is appended here, because a buffer that a function gives back costs a write barrier for each string
// while the garbage collector marks.
func (e *encoder) string(s string) {
	if plainPrefix(s) < len(s) {
		e.buf = AppendString(e.buf, s)
		return
	}
	e.buf = append(e.buf, '"')
	e.buf = append(e.buf, s...)
	e.buf = append(e.buf, '"')
}

func (e *encoder) texts(key string, kind int, list []string) {
	if len(list) == 0 {
		return
	}
	e.buf = append(e.buf, key...)
	e.buf = append(e.buf, '[')
	for i, s := range list {
		e.string(s)
		e.buf = append(e.buf, ',')
		if kind != 0 && e.quiet == 0 {
			e.observe(key, i, kind, s)
		}
	}
	e.buf[len(e.buf)-1] = ']'
	e.buf = append(e.buf, ',')
}

func (e *encoder) number(key string, n int64) {
	e.buf = append(e.buf, key...)
	var digits [20]byte
	e.buf = append(e.buf, strconv.AppendInt(digits[:0], n, 10)...)
	e.buf = append(e.buf, ',')
}

func (e *encoder) int(key string, kind int, v Int) {
	if !v.set {
		return
	}
	e.number(key, v.n)
	if kind != 0 && e.quiet == 0 {
		e.observe(key, -1, kind, strconv.FormatInt(v.n, 10))
	}
}

func (e *encoder) bool(key string, v Bool) {
	if v == Absent {
		return
	}
	e.buf = append(e.buf, key...)
	e.buf = strconv.AppendBool(e.buf, v == True)
	e.buf = append(e.buf, ',')
}

func (e *encoder) json(key string, v JSON) {
	if v == nil {
		return
	}
	e.buf = append(e.buf, key...)
	e.buf = append(e.buf, v...)
	e.buf = append(e.buf, ',')
}

// enum writes the value and its sibling: the schema's caption, or behind 99 the source's own word.
func (e *encoder) enum(key, sibling string, set *enumSet, v Enum) {
	if !v.Present() {
		return
	}
	e.number(key, int64(v.ID()))
	word := v.other
	if v.ID() != Other {
		word, _ = set.caption(v.ID())
	}
	e.text(sibling, 0, word)
}

// observe notes a value; index ≥ 0 is its place in a list.
func (e *encoder) observe(key string, index, kind int, value string) {
	if len(e.seen) >= maxObservables {
		return
	}
	for i := range e.seen {
		if e.seen[i].kind == kind && e.seen[i].value == value {
			return
		}
	}
	e.names = append(e.names, e.path...)
	e.names = append(e.names, key[1:len(key)-2]...)
	if index >= 0 {
		e.names = append(e.names, '[')
		e.names = strconv.AppendInt(e.names, int64(index), 10)
		e.names = append(e.names, ']')
	}
	e.seen = append(e.seen, observable{kind, value, len(e.names)})
}

func (e *encoder) observables() {
	if len(e.seen) == 0 {
		return
	}
	e.buf = append(e.buf, `"observables":[`...)
	start := 0
	for _, o := range e.seen {
		e.buf = append(e.buf, `{"name":"`...)
		e.buf = append(e.buf, e.names[start:o.end]...)
		start = o.end
		e.buf = append(e.buf, `","type_id":`...)
		e.buf = strconv.AppendInt(e.buf, int64(o.kind), 10)
		caption, _ := enumObservableTypeID.caption(o.kind)
		e.buf = append(e.buf, `,"type":"`...)
		e.buf = append(e.buf, caption...)
		e.buf = append(e.buf, `","value":`...)
		e.string(o.value)
		e.buf = append(e.buf, "},"...)
	}
	e.buf[len(e.buf)-1] = ']'
	e.buf = append(e.buf, ',')
}

const hexDigits = "0123456789abcdef"

// AppendString appends s as a JSON string. Bytes that are no UTF-8 become U+FFFD; nothing beyond what JSON demands is escaped.
func AppendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; ; {
		i += plainPrefix(s[i:])
		if i == len(s) {
			break
		}
		c := s[i]
		if c >= utf8.RuneSelf {
			if r, n := utf8.DecodeRuneInString(s[i:]); r != utf8.RuneError || n > 1 {
				i += n
				continue
			}
		}
		dst = append(dst, s[start:i]...)
		if c >= utf8.RuneSelf {
			dst = append(dst, "\uFFFD"...)
		} else {
			dst = appendEscape(dst, c)
		}
		i++
		start = i
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}

// plainPrefix is how many bytes at the start of s are ASCII that needs no escape.
func plainPrefix(s string) int {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	i := 0
	for ; i+8 <= len(s); i += 8 {
		w := s[i : i+8]
		x := uint64(w[0]) | uint64(w[1])<<8 | uint64(w[2])<<16 | uint64(w[3])<<24 |
			uint64(w[4])<<32 | uint64(w[5])<<40 | uint64(w[6])<<48 | uint64(w[7])<<56
		quote, back := x^('"'*ones), x^('\\'*ones)
		// A byte's top bit is set in x where it is no ASCII, in x - 0x20… where it is a control character, and so on; borrows can only
		// set too many bits, never too few.
		if (x|(x-' '*ones)|(quote-ones)|(back-ones))&tops != 0 {
			break
		}
	}
	for ; i < len(s); i++ {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			break
		}
	}
	return i
}

func appendEscape(dst []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	}
	return append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
}
