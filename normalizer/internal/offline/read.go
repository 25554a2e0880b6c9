package offline

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"millrace/pkg/wire"
)

// place is where in a file a record lies.
type place struct {
	line   int // 0 = counted by records
	record int // from 1
}

func (p place) String() string {
	if p.line > 0 {
		return fmt.Sprint(p.line)
	}
	return fmt.Sprintf("record %d", p.record)
}

// each is called for every record with its place, or with what is wrong there. An error that it returns ends the reading.
type each func(at place, raw []byte, err error) error

// errEnd ends the reading of a file whose rest cannot be understood; it has been reported.
var errEnd = errors.New("end")

// maxRecord bounds what is read as one record: beyond it a record could not be on a raw topic either.
const maxRecord = wire.MaxRaw

// read finds out the form of a file and calls fn for its records.
func read(in io.Reader, fn each) error {
	b := bufio.NewReaderSize(in, 64<<10)
	if magic, _ := b.Peek(2); len(magic) == 2 && magic[0] == 0x1f && magic[1] == 0x8b {
		z, err := gzip.NewReader(b)
		if err != nil {
			return err
		}
		defer func() { _ = z.Close() }()
		b = bufio.NewReaderSize(z, 64<<10)
	}
	if bom, _ := b.Peek(3); string(bom) == "\xef\xbb\xbf" {
		_, _ = b.Discard(3) // they are buffered
	}
	lines, err := skipBlank(b)
	if err != nil {
		if errors.Is(err, io.EOF) {
			return errors.New("the file is empty")
		}
		return err
	}
	first, _ := b.Peek(1)
	switch first[0] {
	case '[':
		err = readArray(b, fn)
	case '{':
		err = readObjects(b, lines, fn)
	default:
		err = readCSV(b, fn)
	}
	if errors.Is(err, errEnd) {
		return nil
	}
	return err
}

// skipBlank skips white space and says how many lines lay in it.
func skipBlank(b *bufio.Reader) (lines int, err error) {
	for {
		c, err := b.ReadByte()
		switch {
		case err != nil:
			return lines, err
		case c == '\n':
			lines++
		case c != ' ' && c != '\t' && c != '\r':
			return lines, b.UnreadByte()
		}
	}
}

// readArray reads one JSON array of records.
func readArray(b *bufio.Reader, fn each) error {
	d := json.NewDecoder(b)
	if _, err := d.Token(); err != nil {
		return err
	}
	n := 0
	for d.More() {
		n++
		if err := decodeOne(d, place{record: n}, fn); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		if err := fn(place{record: n + 1}, nil, fmt.Errorf("the array is cut off or broken here: %w", err)); err != nil {
			return err
		}
	}
	return nil
}

// decodeOne reads the next value of a decoder. Where JSON itself is broken there is no next one.
func decodeOne(d *json.Decoder, at place, fn each) error {
	var raw json.RawMessage
	if err := d.Decode(&raw); err != nil {
		if err := fn(at, nil, fmt.Errorf("the rest is not read: %w", err)); err != nil {
			return err
		}
		return errEnd
	}
	return unwrap(at, raw, fn)
}

// readObjects reads lines of one object each, or objects written over several lines.
func readObjects(b *bufio.Reader, lines int, fn each) error {
	first, err := readLine(b)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, errLong) {
		return err
	}
	if trimmed := bytes.TrimSpace(first); !errors.Is(err, errLong) && !json.Valid(trimmed) && !bytes.HasSuffix(trimmed, []byte("}")) {
		d := json.NewDecoder(io.MultiReader(bytes.NewReader(first), b))
		for n := 1; d.More(); n++ {
			if err := decodeOne(d, place{record: n}, fn); err != nil {
				return err
			}
		}
		return nil
	}
	for line, n := lines+1, 1; ; line++ {
		trimmed := bytes.TrimSpace(first)
		switch {
		case errors.Is(err, errLong):
			if err := fn(place{line: line, record: n}, nil, err); err != nil {
				return err
			}
		case len(trimmed) > 0:
			if err := unwrap(place{line: line, record: n}, trimmed, fn); err != nil {
				return err
			}
			n++
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if first, err = readLine(b); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, errLong) {
			return err
		}
	}
}

// errLong says that a line is longer than a record may be.
var errLong = fmt.Errorf("the line is longer than %d bytes", maxRecord)

// readLine reads a line with its end. Of one that is too long the rest is skipped.
func readLine(b *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := b.ReadSlice('\n')
		if len(line)+len(part) > maxRecord {
			for errors.Is(err, bufio.ErrBufferFull) {
				_, err = b.ReadSlice('\n')
			}
			if err != nil && err != io.EOF {
				return nil, err
			}
			return nil, errLong
		}
		line = append(line, part...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}

// readCSV reads the AuditData column of a Purview export.
func readCSV(b *bufio.Reader, fn each) error {
	r := csv.NewReader(b)
	r.ReuseRecord = true
	header, err := r.Read()
	if err != nil {
		return fmt.Errorf("neither JSON nor CSV: %w", err)
	}
	column := -1
	for i, name := range header {
		if strings.EqualFold(strings.TrimSpace(name), "AuditData") {
			column = i
		}
	}
	if column < 0 {
		return errors.New("neither JSON nor a CSV with the column AuditData")
	}
	for n := 1; ; n++ {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		at := place{record: n}
		var broken *csv.ParseError
		switch {
		case errors.As(err, &broken):
			at.line = broken.StartLine
			err = fn(at, nil, broken.Err)
		case err != nil:
			return err
		default:
			at.line, _ = r.FieldPos(column)
			err = fn(at, []byte(row[column]), nil)
		}
		if err != nil {
			return err
		}
	}
}

// unwrap takes the record out of what Search-UnifiedAuditLog returns: an object whose AuditData is the record as a text.
func unwrap(at place, raw []byte, fn each) error {
	if bytes.Contains(raw, []byte(`"AuditData"`)) {
		var outer struct {
			AuditData    any
			CreationTime any
		}
		if err := json.Unmarshal(raw, &outer); err == nil && outer.CreationTime == nil {
			if text, ok := outer.AuditData.(string); ok {
				raw = []byte(text)
			}
		}
	}
	return fn(at, raw, nil)
}
