package source

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"sync"
)

// spoolMemory is how much of one blob is held in memory while it is fetched; a larger one goes to a temporary file, and so does one for which
// there is no room.
const spoolMemory = 4 << 20

// chunkSize is the piece in which a blob is read: most of the feed's blobs are a few of them.
const chunkSize = 64 << 10

// chunks lends the pieces that blobs are read into.
type chunks struct{ pool sync.Pool }

func (c *chunks) get() *[chunkSize]byte {
	if p, ok := c.pool.Get().(*[chunkSize]byte); ok {
		return p
	}
	return new([chunkSize]byte)
}

// spool takes in one blob: in borrowed pieces, which are joined once its size is known, or in a temporary file. Whoever makes it calls drop.
type spool struct {
	dir    string
	lender *chunks
	grow   func() bool        // asks for room beyond firstShare
	parts  []*[chunkSize]byte // all but the last one full; nil once joined or written to file
	last   int                // bytes of the last part
	buf    []byte             // the joined blob
	file   *os.File           // of a large blob
	size   int64
	sum    hash.Hash
}

func newSpool(dir string, lender *chunks, grow func() bool) *spool {
	return &spool{dir: dir, lender: lender, grow: grow, sum: sha256.New(), last: chunkSize}
}

// Write implements io.Writer.
func (s *spool) Write(p []byte) (int, error) {
	n, err := s.ReadFrom(bytes.NewReader(p))
	return int(n), err
}

// ReadFrom implements io.ReaderFrom: the blob is read straight into its place.
func (s *spool) ReadFrom(r io.Reader) (total int64, err error) {
	for {
		part, err := s.room()
		if err != nil {
			return total, err
		}
		n, err := r.Read(part[s.last:])
		_, _ = s.sum.Write(part[s.last : s.last+n]) // a hash never fails
		s.last += n
		s.size += int64(n)
		total += int64(n)
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

// room is the part to read into. At the bound for memory the parts go to a file, and one of them is used again and again.
func (s *spool) room() (*[chunkSize]byte, error) {
	if s.last < chunkSize {
		return s.parts[len(s.parts)-1], nil
	}
	if s.file != nil || len(s.parts) >= spoolMemory/chunkSize || len(s.parts) == firstShare/chunkSize && !s.grow() {
		if err := s.flush(); err != nil {
			return nil, fmt.Errorf("spool blob: %w", err)
		}
		return s.parts[0], nil
	}
	s.parts = append(s.parts, s.lender.get())
	s.last = 0
	return s.parts[len(s.parts)-1], nil
}

// flush writes the parts to the file and keeps one, empty.
func (s *spool) flush() (err error) {
	if s.file == nil {
		if s.file, err = os.CreateTemp(s.dir, "millrace-blob-*"); err != nil {
			return err
		}
	}
	for i, p := range s.parts {
		full := p[:]
		if i == len(s.parts)-1 {
			full = p[:s.last]
		}
		if _, err := s.file.Write(full); err != nil {
			return err
		}
	}
	for _, p := range s.parts[1:] {
		s.lender.pool.Put(p)
	}
	s.parts, s.last = s.parts[:1], 0
	return nil
}

// join makes one piece of what was read, in memory of its own or in the file.
func (s *spool) join() error {
	if s.file != nil {
		if err := s.flush(); err != nil {
			return fmt.Errorf("spool blob: %w", err)
		}
	} else {
		s.buf = make([]byte, 0, s.size)
		for i, p := range s.parts {
			if i == len(s.parts)-1 {
				s.buf = append(s.buf, p[:s.last]...)
			} else {
				s.buf = append(s.buf, p[:]...)
			}
		}
	}
	s.giveBack()
	return nil
}

func (s *spool) giveBack() {
	for _, p := range s.parts {
		s.lender.pool.Put(p)
	}
	s.parts, s.last = nil, chunkSize
}

// reader reads from the beginning.
func (s *spool) reader() (io.Reader, error) {
	if s.file == nil {
		return bytes.NewReader(s.buf), nil
	}
	if _, err := s.file.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("spool blob: %w", err)
	}
	return s.file, nil
}

// bytes brings the whole blob into memory.
func (s *spool) bytes() ([]byte, error) {
	if s.file == nil {
		return s.buf, nil
	}
	r, err := s.reader()
	if err != nil {
		return nil, err
	}
	b := make([]byte, s.size)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, fmt.Errorf("spool blob: %w", err)
	}
	return b, nil
}

func (s *spool) sha() string { return hex.EncodeToString(s.sum.Sum(nil)) }

// drop gives up the file, if there is one. It may be called twice.
func (s *spool) drop() {
	if s.file != nil {
		_ = s.file.Close()           // nothing is to be kept of it
		_ = os.Remove(s.file.Name()) // at worst the system cleans its folder
		s.file = nil
	}
	s.giveBack()
	s.buf = nil
}
