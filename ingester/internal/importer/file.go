package importer

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/klauspost/compress/gzip"
)

// maxRow bounds one row of a file, so that memory stays bounded whatever the file holds.
const maxRow = 64 << 20

// row is one row of a file.
type row struct {
	number int    // as a person counts: lines of a file of lines (the header is 1), elements of an array from 1
	record []byte // the vendor record; of a row that holds none, the row itself
	bad    string // why the row holds no record; "" = it may be one
	end    int64  // offset in the decompressed file behind the row's last byte
}

// rows reads a file row by row. What next returns is valid until the next call. io.EOF is the end of a file that is whole.
type rows interface {
	next() (row, error)
}

// file is an open export with its rows and the running hash of what was read.
type file struct {
	name   string // without its folder: what dead letters show
	path   string
	f      *os.File
	total  int64        // size on disk
	at     atomic.Int64 // bytes read from disk
	tee    *tee
	rows   rows
	format string
}

// PlaceError says what is wrong with a file, and where.
type PlaceError struct {
	File  string
	Row   int // rows that were read before it; 0 = none
	Cause error
}

// Error implements error.
func (e *PlaceError) Error() string {
	if e.Row == 0 {
		return fmt.Sprintf("%s: %v", e.File, e.Cause)
	}
	return fmt.Sprintf("%s: behind row %d: %v", e.File, e.Row, e.Cause)
}

// Unwrap gives the cause.
func (e *PlaceError) Unwrap() error { return e.Cause }

func openFile(path string) (*file, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	in := &file{name: filepath.Base(path), path: path, f: f}
	if err := in.detect(); err != nil {
		_ = f.Close() // opened for reading
		return nil, &PlaceError{File: path, Cause: err}
	}
	return in, nil
}

func (in *file) close() { _ = in.f.Close() } // opened for reading

// detect finds out what the file is by its content, never by its name.
func (in *file) detect() error {
	info, err := in.f.Stat()
	if err != nil {
		return err
	}
	if info.IsDir() {
		return errors.New("is a folder: name the files in it")
	}
	in.total = info.Size()
	buffered := bufio.NewReaderSize(countReader{in.f, &in.at}, 256<<10)
	var content io.Reader = buffered
	if magic, _ := buffered.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(buffered)
		if err != nil {
			return fmt.Errorf("is no whole gzip file: %w", err)
		}
		content = z
	}
	in.tee = &tee{r: content, h: sha256.New()}
	head, err := in.tee.peek(64 << 10)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read: %w", err)
	}
	return in.sniff(head)
}

// sniff decides the format by the first bytes of the content.
func (in *file) sniff(head []byte) (err error) {
	text := bytes.TrimLeft(bytes.TrimPrefix(head, []byte("\xEF\xBB\xBF")), " \t\r\n")
	switch {
	case len(text) == 0:
		return errors.New("is empty")
	case bytes.HasPrefix(head, []byte{0xff, 0xfe}), bytes.HasPrefix(head, []byte{0xfe, 0xff}):
		return errors.New("is UTF-16: save it as UTF-8 (PowerShell: … | Out-File -Encoding utf8)")
	case bytes.IndexByte(head, 0) >= 0:
		return errors.New("is a binary file: want a CSV export with the column AuditData, a JSON array of records or one JSON record a line, plain or gzip")
	case text[0] == '[':
		in.format, in.rows = "JSON array", newArrayRows(in.tee)
	case text[0] == '{':
		if line, _, _ := bytes.Cut(text, []byte("\n")); len(bytes.TrimSpace(line)) == 1 {
			return errors.New("is one JSON object over many lines: want an array (PowerShell: ConvertTo-Json -InputObject @(…)) or one record a line")
		}
		in.format, in.rows = "JSON lines", &lineRows{lines: newLines(in.tee, false)}
	default:
		in.format = "CSV"
		in.rows, err = newCSVRows(in.tee)
	}
	return err
}

// contentID names everything up to an offset that has been hashed: the running SHA-256 of the decompressed content.
func (in *file) contentID() string { return hex.EncodeToString(in.tee.h.Sum(nil)) }

type countReader struct {
	r io.Reader
	n *atomic.Int64
}

func (c countReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// tee hands on what it reads and keeps it until it is hashed: rows are read ahead of the hash, which stands at the end of a row.
type tee struct {
	r       io.Reader
	h       hash.Hash
	pending []byte // read and not hashed yet
	hashed  int64  // offset that the hash stands at
	given   int    // of pending, handed to the reader
}

// peek reads up to n bytes ahead without handing them out.
func (t *tee) peek(n int) ([]byte, error) {
	for len(t.pending) < n {
		buf := make([]byte, n-len(t.pending))
		k, err := t.r.Read(buf)
		t.pending = append(t.pending, buf[:k]...)
		if err != nil {
			return t.pending, err
		}
	}
	return t.pending, nil
}

// Read implements io.Reader.
func (t *tee) Read(p []byte) (int, error) {
	if t.given < len(t.pending) {
		n := copy(p, t.pending[t.given:])
		t.given += n
		return n, nil
	}
	n, err := t.r.Read(p)
	t.pending = append(t.pending, p[:n]...)
	t.given += n
	return n, err
}

// advance hashes up to an offset of the content.
func (t *tee) advance(to int64) {
	n := int(to - t.hashed)
	_, _ = t.h.Write(t.pending[:n]) // a hash never fails
	t.hashed = to
	t.given -= n
	rest := copy(t.pending, t.pending[n:])
	t.pending = t.pending[:rest]
}
