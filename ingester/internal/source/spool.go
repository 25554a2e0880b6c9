package source

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"
)

// spoolMemory is how much of one blob is held in memory while it is fetched; a larger one goes to a temporary file.
const spoolMemory = 4 << 20

// spool takes in one blob. Whoever makes it calls drop.
type spool struct {
	dir  string
	buf  []byte
	file *os.File // nil while everything is in buf
	size int64
	sum  hash.Hash
}

func newSpool(dir string) *spool { return &spool{dir: dir, sum: sha256.New()} }

// Write implements io.Writer.
func (s *spool) Write(p []byte) (int, error) {
	if s.file == nil && len(s.buf)+len(p) > spoolMemory {
		f, err := os.CreateTemp(s.dir, "millrace-blob-*")
		if err != nil {
			return 0, fmt.Errorf("spool blob: %w", err)
		}
		s.file = f
		if _, err := f.Write(s.buf); err != nil {
			return 0, fmt.Errorf("spool blob: %w", err)
		}
		s.buf = nil
	}
	_, _ = s.sum.Write(p) // a hash never fails
	s.size += int64(len(p))
	if s.file == nil {
		s.buf = append(s.buf, p...)
		return len(p), nil
	}
	n, err := s.file.Write(p)
	if err != nil {
		return n, fmt.Errorf("spool blob: %w", err)
	}
	return n, nil
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
	s.buf = nil
}
