package broker

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// now is when the markers of these tests are written.
var now = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func writeFiles(t *testing.T, dir string, files map[string][]byte) {
	t.Helper()
	for name, raw := range files {
		if err := os.WriteFile(filepath.Join(dir, name), raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFrames(t *testing.T) {
	t.Parallel()
	raw := append(frame([]byte("one")), frame(nil)...)
	for cut := range len(raw) {
		data, whole := readFrames(raw[:cut])
		want := 0
		if cut >= 13 {
			want = 1
		}
		if len(data) != want || whole != 13*want {
			t.Errorf("cut at %d: %d entries in %d bytes, want %d", cut, len(data), whole, want)
		}
	}
	if data, whole := readFrames(raw); len(data) != 2 || string(data[0]) != "one" || whole != len(raw) {
		t.Errorf("whole: %q in %d bytes", data, whole)
	}
}

// TestSegmentBehindDamage has a batch that is cut short with a newer segment behind it, which no kill leaves.
func TestSegmentBehindDamage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, second := marker(0, 0, 1, 0, true, now), marker(1, 0, 1, 0, true, now)
	writeFiles(t, dir, map[string][]byte{"0.dat": first[:len(first)-1], "1.dat": second})
	if _, err := readPartition(dir); err == nil || !strings.Contains(err.Error(), "0.dat: damaged at byte 0") {
		t.Errorf("error %v, want the damaged file and place", err)
	}
}

// TestEmptySegmentIsRemoved has the file that a kill leaves between opening a segment and writing to it.
func TestEmptySegmentIsRemoved(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeFiles(t, dir, map[string][]byte{"0.dat": marker(0, 0, 1, 0, true, now), "1.dat": nil, "1.idx": nil})
	p, err := readPartition(dir)
	if err != nil {
		t.Fatal(err)
	}
	if p.active != filepath.Join(dir, "0") || p.last.next != 1 {
		t.Errorf("active segment %s, next offset %d", p.active, p.last.next)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "1.*")); err != nil || len(left) > 0 {
		t.Errorf("left over: %q, %v", left, err)
	}
}

// FuzzReadPartition reads any bytes as a segment and an index. What it mends is whole when it is read again.
func FuzzReadPartition(f *testing.F) {
	m := marker(0, 0, 1, 0, true, now)
	f.Add(m, indexEntry(batch{}))
	f.Add(append(bytes.Clone(m), m[:70]...), []byte{1, 2, 3})
	f.Add(bytes.Repeat([]byte{0xff}, 100), []byte(nil))
	f.Fuzz(func(t *testing.T, segment, index []byte) {
		dir := t.TempDir()
		writeFiles(t, dir, map[string][]byte{"0.dat": segment, "0.idx": index})
		p, err := readPartition(dir)
		if err != nil {
			t.Fatal(err)
		}
		for id := range p.open {
			if err := p.end(id, false, now); err != nil {
				t.Fatal(err)
			}
		}
		before, _ := os.ReadFile(filepath.Join(dir, "0.dat")) // gone if nothing in it was whole
		again, err := readPartition(dir)
		if err != nil {
			t.Fatal(err)
		}
		after, _ := os.ReadFile(filepath.Join(dir, "0.dat"))
		if len(again.open) > 0 || !bytes.Equal(before, after) {
			t.Errorf("read again: %d open, %d bytes of %d", len(again.open), len(after), len(before))
		}
	})
}
