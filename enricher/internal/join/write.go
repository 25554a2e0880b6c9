package join

import (
	"math"
	"strconv"

	"millrace/pkg/ocsf"
)

// members appends members of a JSON object to a buffer, with commas between them. Empty texts are left out: OCSF events hold none.
type members struct {
	buf  *[]byte
	some bool // a member is there already
}

func (m *members) key(name string) {
	b := *m.buf
	if m.some {
		b = append(b, ',')
	}
	m.some = true
	b = append(b, '"')
	b = append(b, name...) // a constant of this package
	*m.buf = append(b, '"', ':')
}

func (m *members) str(name, value string) {
	if value != "" {
		m.key(name)
		*m.buf = ocsf.AppendString(*m.buf, value)
	}
}

func (m *members) bool(name string, value bool) {
	m.key(name)
	*m.buf = strconv.AppendBool(*m.buf, value)
}

func (m *members) int(name string, value int) {
	m.key(name)
	*m.buf = strconv.AppendInt(*m.buf, int64(value), 10)
}

func (m *members) float(name string, value float64) {
	if math.IsNaN(value) || math.IsInf(value, 0) {
		return // JSON has no such numbers
	}
	m.key(name)
	*m.buf = strconv.AppendFloat(*m.buf, value, 'f', -1, 64)
}

func (m *members) list(name string, values ...string) {
	if len(values) == 0 {
		return
	}
	m.key(name)
	sep := byte('[')
	for _, v := range values {
		*m.buf = ocsf.AppendString(append(*m.buf, sep), v)
		sep = ','
	}
	*m.buf = append(*m.buf, ']')
}

// open starts an object as a member; close ends it.
func (m *members) open(name string) members {
	m.key(name)
	*m.buf = append(*m.buf, '{')
	return members{buf: m.buf}
}

func (m *members) close() { *m.buf = append(*m.buf, '}') }

// memo remembers what was made of keys, up to a bound. When it is full it starts over: cheaper than an order of use, and a tenant's
// active users, addresses and programs fit by far.
type memo[K comparable, V any] struct {
	known map[K]V
	bound int
}

func (m *memo[K, V]) put(k K, v V) V {
	switch {
	case m.known == nil:
		m.known = make(map[K]V)
	case len(m.known) >= m.bound:
		clear(m.known)
	}
	m.known[k] = v
	return v
}
