package importer

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-faster/jx"

	"millrace/pkg/m365"
)

// arrayRows reads a JSON array of records, or of results of Search-UnifiedAuditLog.
type arrayRows struct {
	split *m365.Splitter
	n     int
}

func newArrayRows(r io.Reader) *arrayRows { return &arrayRows{split: m365.NewSplitter(r, maxRow)} }

func (a *arrayRows) next() (row, error) {
	raw, err := a.split.Next()
	if err != nil {
		return row{}, err
	}
	a.n++
	return row{number: a.n, record: unwrap(raw), end: a.split.Offset()}, nil
}

// unwrap takes the record out of a result of Search-UnifiedAuditLog, whose member AuditData holds it as text. Anything else is a record
// already.
func unwrap(raw []byte) []byte {
	if !bytes.Contains(raw, []byte(`"AuditData"`)) {
		return raw
	}
	var inner []byte
	d := jx.DecodeBytes(raw)
	err := d.ObjBytes(func(d *jx.Decoder, key []byte) error {
		if string(key) != "AuditData" || d.Next() != jx.String {
			return d.Skip()
		}
		text, err := d.StrBytes()
		inner = bytes.TrimSpace(bytes.Clone(text))
		return err
	})
	if err != nil || len(inner) == 0 || inner[0] != '{' {
		return raw
	}
	return inner
}

// lines cuts a text into lines without their ends; quoted line ends, as in CSV, do not count.
type lines struct {
	r      io.Reader
	buf    []byte
	pos    int   // where the next line begins
	base   int64 // offset of buf[0]
	quotes bool
	n      int
	eof    bool
}

func newLines(r io.Reader, quotes bool) *lines {
	return &lines{r: r, buf: make([]byte, 0, 256<<10), quotes: quotes}
}

var errOpenQuote = errors.New("the file ends inside a quoted field: it is cut short")

// next returns a line and whether a line end followed it. The last line of a file may have none.
func (l *lines) next() (line []byte, end int64, ended bool, err error) {
	scanned, open := l.pos, false
	for {
		for scanned < len(l.buf) {
			if open {
				i := bytes.IndexByte(l.buf[scanned:], '"')
				if i < 0 {
					scanned = len(l.buf)
					break
				}
				scanned += i + 1
				open = false
				continue
			}
			chunk := l.buf[scanned:]
			nl := bytes.IndexByte(chunk, '\n')
			if nl >= 0 {
				chunk = chunk[:nl]
			}
			if q := bytes.IndexByte(chunk, '"'); l.quotes && q >= 0 {
				scanned += q + 1
				open = true
				continue
			}
			if nl >= 0 {
				line, end = l.cut(scanned + nl)
				l.pos = scanned + nl + 1
				return line, end, true, nil
			}
			scanned = len(l.buf)
		}
		if l.eof {
			switch {
			case open:
				return nil, 0, false, errOpenQuote
			case l.pos == len(l.buf):
				return nil, 0, false, io.EOF
			}
			line, end = l.cut(len(l.buf))
			l.pos = len(l.buf)
			return line, end, false, nil
		}
		if len(l.buf)-l.pos > maxRow {
			return nil, 0, false, fmt.Errorf("a row is longer than %d bytes", maxRow)
		}
		moved := l.pos
		if err := l.refill(); err != nil {
			return nil, 0, false, err
		}
		scanned -= moved
	}
}

// cut takes the line up to an index of the buffer, without a carriage return.
func (l *lines) cut(to int) (line []byte, end int64) {
	l.n++
	line = bytes.TrimSuffix(l.buf[l.pos:to], []byte("\r"))
	return line, l.base + int64(l.pos+len(line))
}

func (l *lines) refill() error {
	n := copy(l.buf, l.buf[l.pos:])
	l.base += int64(l.pos)
	l.buf, l.pos = l.buf[:n], 0
	if len(l.buf) == cap(l.buf) {
		grown := make([]byte, len(l.buf), 2*cap(l.buf))
		copy(grown, l.buf)
		l.buf = grown
	}
	k, err := l.r.Read(l.buf[len(l.buf):cap(l.buf)])
	l.buf = l.buf[:len(l.buf)+k]
	if errors.Is(err, io.EOF) {
		l.eof = true
		return nil
	}
	return err
}

// lineRows reads one JSON record a line.
type lineRows struct{ lines *lines }

func (l *lineRows) next() (row, error) {
	for {
		line, end, ended, err := l.lines.next()
		if err != nil {
			return row{}, err
		}
		text := bytes.TrimSpace(bytes.TrimPrefix(line, []byte("\xEF\xBB\xBF")))
		if len(text) == 0 {
			continue
		}
		if !ended && !jx.Valid(text) {
			return row{}, fmt.Errorf("row %d: the file ends inside it: it is cut short", l.lines.n)
		}
		return row{number: l.lines.n, record: unwrap(text), end: end}, nil
	}
}

// csvRows reads a CSV export that has a column AuditData.
type csvRows struct {
	lines  *lines
	comma  byte
	column int
	fields int
	cell   []byte // scratch
}

// maxColumns bounds what a hostile header can make of the search for the column.
const maxColumns = 1000

func newCSVRows(r io.Reader) (*csvRows, error) {
	c := &csvRows{lines: newLines(r, true)}
	var header []byte
	for len(bytes.TrimSpace(header)) == 0 {
		line, _, _, err := c.lines.next()
		if err != nil {
			return nil, fmt.Errorf("read the header: %w", err)
		}
		header = bytes.TrimPrefix(line, []byte("\xEF\xBB\xBF"))
	}
	for _, comma := range []byte{',', ';', '\t'} {
		c.comma = comma
		c.column = -1
		for i := range maxColumns {
			name, ok, last := c.field(header, i)
			if ok && strings.EqualFold(strings.TrimSpace(string(name)), "AuditData") {
				c.column = i
			}
			if last {
				c.fields = i + 1
				break
			}
		}
		if c.column >= 0 {
			return c, nil
		}
	}
	return nil, fmt.Errorf("is no CSV export of audit records: there is no column AuditData in its header %.100q", header)
}

func (c *csvRows) next() (row, error) {
	for {
		line, end, _, err := c.lines.next()
		if err != nil {
			return row{}, err
		}
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		r := row{number: c.lines.n, end: end}
		cell, ok, _ := c.field(line, c.column)
		if !ok {
			r.record, r.bad = line, fmt.Sprintf("no field %d (AuditData), or its quotes are wrong", c.column+1)
			return r, nil
		}
		r.record = bytes.TrimSpace(cell)
		return r, nil
	}
}

// field takes the n-th field out of a row, unquoted; ok is false if there is none or its quotes are wrong. last says that no
// field follows.
func (c *csvRows) field(line []byte, n int) (value []byte, ok, last bool) {
	for i := 0; ; i++ {
		raw, rest, more, well := c.first(line)
		if i == n {
			return raw, well, !more
		}
		if !more {
			return nil, false, true
		}
		line = rest
	}
}

// first splits a row behind its first field.
func (c *csvRows) first(line []byte) (value, rest []byte, more, well bool) {
	if len(line) == 0 || line[0] != '"' {
		value, rest, more = bytes.Cut(line, []byte{c.comma})
		return value, rest, more, true
	}
	c.cell = c.cell[:0]
	for line = line[1:]; ; {
		q := bytes.IndexByte(line, '"')
		if q < 0 {
			return c.cell, nil, false, false
		}
		c.cell = append(c.cell, line[:q]...)
		line = line[q+1:]
		if len(line) > 0 && line[0] == '"' {
			c.cell = append(c.cell, '"')
			line = line[1:]
			continue
		}
		if len(line) == 0 {
			return c.cell, nil, false, true
		}
		if line[0] == c.comma {
			return c.cell, line[1:], true, true
		}
		_, rest, more = bytes.Cut(line, []byte{c.comma}) // text behind a closing quote
		return c.cell, rest, more, false
	}
}
