package seen

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"os"

	"millrace/pkg/audit"
)

// run is a set of entries in a memory-mapped file, in order of their ids: n ids, then n contents, then n stamps, little endian. It
// never changes. The file has no name any more when it is in use, so that nothing is left behind, whatever ends the process.
type run struct {
	data   []byte
	n      int
	newest uint16 // stamp
}

func (r *run) id(i int) uint64      { return binary.LittleEndian.Uint64(r.data[8*i:]) }
func (r *run) content(i int) uint64 { return binary.LittleEndian.Uint64(r.data[8*(r.n+i):]) }
func (r *run) hour(i int) uint16    { return binary.LittleEndian.Uint16(r.data[16*r.n+2*i:]) }

// find judges an entry by those stamped since or later.
func (r *run) find(e audit.Entry, since uint16) Verdict {
	verdict := Unseen
	if r.newest < since {
		return verdict
	}
	for i := r.first(e.ID); i < r.n && r.id(i) == e.ID; i++ {
		switch {
		case r.hour(i) < since:
		case r.content(i) == e.Content:
			return Repeat
		default:
			verdict = Variant
		}
	}
	return verdict
}

// guesses and nearby bound the search by interpolation: hashes are spread evenly, so that a few guesses come within a few entries.
const (
	guesses = 4
	nearby  = 64
)

// first is the place of the first entry with an id not below the given one.
func (r *run) first(id uint64) int {
	at := r.scale(id)
	for range guesses {
		if here := r.id(at); here <= id {
			at = min(at+r.scale(id-here), r.n-1)
		} else {
			at = max(at-r.scale(here-id), 0)
		}
	}
	for range nearby {
		switch {
		case at > 0 && r.id(at-1) >= id:
			at--
		case at < r.n && r.id(at) < id:
			at++
		default:
			return at
		}
	}
	low, high := 0, r.n // ids that are not spread evenly: halve
	for low < high {
		if middle := int(uint(low+high) >> 1); r.id(middle) < id {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low
}

// scale is how many entries lie in a part of the range of ids, if they are spread evenly.
func (r *run) scale(part uint64) int {
	hi, _ := bits.Mul64(part, uint64(r.n))
	return int(hi)
}

// close ends the mapping.
func (r *run) close() error { return unmap(r.data) }

// runWriter writes a run of n entries, in order of their ids.
type runWriter struct {
	file      *os.File
	parts     [3]*bufio.Writer
	n, done   int
	newest    uint16
	firstFail error
}

func newRunWriter(dir string, n int) (*runWriter, error) {
	f, err := os.CreateTemp(dir, "millrace-seen-*")
	if err != nil {
		return nil, fmt.Errorf("seen.cache_dir: %w", err)
	}
	// Without a name from the start: a crash leaves nothing behind.
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(fmt.Errorf("seen.cache_dir: %w", err), f.Close())
	}
	w := &runWriter{file: f, n: n}
	for i, offset := range []int64{0, 8 * int64(n), 16 * int64(n)} {
		w.parts[i] = bufio.NewWriterSize(io.NewOffsetWriter(f, offset), 256<<10)
	}
	return w, nil
}

// add appends an entry; errors come out of finish.
func (w *runWriter) add(id, content uint64, hour uint16) {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], id)
	_, err1 := w.parts[0].Write(b[:])
	binary.LittleEndian.PutUint64(b[:], content)
	_, err2 := w.parts[1].Write(b[:])
	binary.LittleEndian.PutUint16(b[:], hour)
	_, err3 := w.parts[2].Write(b[:2])
	if w.firstFail == nil {
		w.firstFail = errors.Join(err1, err2, err3)
	}
	w.newest = max(w.newest, hour)
	w.done++
}

// finish maps what was written.
func (w *runWriter) finish() (*run, error) {
	err := w.firstFail
	for _, part := range w.parts {
		err = errors.Join(err, part.Flush())
	}
	if err == nil && w.done != w.n {
		err = fmt.Errorf("%d entries of %d", w.done, w.n)
	}
	r := &run{n: w.n, newest: w.newest}
	if err == nil {
		r.data, err = mapFile(w.file, w.n*slotBytes)
	}
	if err = errors.Join(err, w.file.Close()); err != nil { // the mapping stays
		return nil, fmt.Errorf("seen.cache_dir: write what memory cannot hold: %w", err)
	}
	return r, nil
}
