// Package mmdbtest writes small MMDB files for tests.
package mmdbtest

import (
	"bytes"
	"encoding/binary"
	"math"
	"net/netip"
	"slices"
	"testing"
)

// Pair is a member of a map.
type Pair struct {
	Key   string
	Value any
}

// Object makes a map from alternating keys and values. Its order is kept, so that a database is the same bytes each time.
func Object(kv ...any) []Pair {
	var out []Pair
	for i := 0; i < len(kv); i += 2 {
		key, _ := kv[i].(string)
		out = append(out, Pair{key, kv[i+1]})
	}
	return out
}

// node is one bit of an address. Each side is another node (≥ 0), empty, or −2−offset of a value in the data section.
type node [2]int

const empty = -1

// Build writes a small IPv4 database of 24-bit records (MaxMind DB file format specification 2.0).
func Build(t testing.TB, kind string, epoch uint64, networks map[string]any) []byte {
	t.Helper()
	tree := []node{{empty, empty}}
	var data bytes.Buffer
	var keys []string
	for k := range networks {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		p := netip.MustParsePrefix(k)
		at, bits := 0, p.Addr().As4()
		value := -2 - data.Len()
		writeValue(t, &data, networks[k])
		for i := range p.Bits() {
			side := int(bits[i/8]>>(7-i%8)) & 1
			if i == p.Bits()-1 {
				tree[at][side] = value
				break
			}
			if tree[at][side] < 0 {
				tree = append(tree, node{empty, empty})
				tree[at][side] = len(tree) - 1
			}
			at = tree[at][side]
		}
	}
	var out bytes.Buffer
	for _, n := range tree {
		for _, v := range n {
			switch {
			case v == empty:
				v = len(tree)
			case v < empty:
				v = -v - 2 + len(tree) + 16
			}
			out.Write([]byte{byte(v >> 16), byte(v >> 8), byte(v)})
		}
	}
	out.Write(make([]byte, 16))
	out.Write(data.Bytes())
	out.WriteString("\xab\xcd\xefMaxMind.com")
	writeValue(t, &out, Object("binary_format_major_version", uint16(2), "binary_format_minor_version", uint16(0), "build_epoch", epoch,
		"database_type", kind, "ip_version", uint16(4), "node_count", uint32(len(tree)), "record_size", uint16(24),
		"languages", []any{"en"}, "description", Object("en", "made by a test")))
	return out.Bytes()
}

func writeValue(t testing.TB, out *bytes.Buffer, v any) {
	t.Helper()
	control := func(kind, size int) {
		if kind > 7 {
			out.Write([]byte{byte(min(size, 29)), byte(kind - 7)})
		} else {
			out.WriteByte(byte(kind<<5 | min(size, 29)))
		}
		if size >= 29 {
			out.WriteByte(byte(size - 29))
		}
	}
	number := func(kind int, v uint64) {
		b := bytes.TrimLeft(binary.BigEndian.AppendUint64(nil, v), "\x00")
		control(kind, len(b))
		out.Write(b)
	}
	switch v := v.(type) {
	case string:
		control(2, len(v))
		out.WriteString(v)
	case float64:
		control(3, 8)
		out.Write(binary.BigEndian.AppendUint64(nil, math.Float64bits(v)))
	case uint16:
		number(5, uint64(v))
	case uint32:
		number(6, uint64(v))
	case uint64:
		number(9, v)
	case []any:
		control(11, len(v))
		for _, x := range v {
			writeValue(t, out, x)
		}
	case []Pair:
		control(7, len(v))
		for _, p := range v {
			writeValue(t, out, p.Key)
			writeValue(t, out, p.Value)
		}
	default:
		t.Fatalf("no MMDB type for %T", v)
	}
}
