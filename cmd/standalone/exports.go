package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"millrace/internal/proof"
	"millrace/pkg/audit"
)

// exported lists the records of exported files for the proof. It is written with the standard library's readers alone, because the proof
// must not believe the importer.
func (w *world) exported(_ context.Context, fn func(proof.Item) error) error {
	seen := map[[sha256.Size]byte]bool{}
	for _, path := range w.opt.imports {
		sum, err := fileHash(path)
		if err != nil {
			return err
		}
		if seen[sum] {
			continue // the same file under two names is imported once
		}
		seen[sum] = true
		item := proof.Item{ContentID: filepath.Base(path)}
		err = readExport(path, func(row int, record []byte) error {
			item.Index, item.Raw, item.Domain = row, record, exportDomain(record)
			return fn(item)
		})
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}

// exportDomain tells DLP records from the rest by their type.
func exportDomain(record []byte) audit.Domain {
	var r struct{ RecordType json.Number }
	if json.Unmarshal(record, &r) != nil {
		return audit.DomainAudit
	}
	switch r.RecordType.String() {
	case "11", "13", "33", "63", "99", "100", "107", "109":
		return audit.DomainDLP
	}
	return audit.DomainAudit
}

func fileHash(path string) (sum [sha256.Size]byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return sum, err
	}
	defer func() { _ = f.Close() }() // opened for reading
	h := sha256.New()
	_, err = io.Copy(h, f)
	return [sha256.Size]byte(h.Sum(nil)), err
}

// readExport calls fn for each row of a file.
func readExport(path string, fn func(row int, record []byte) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // opened for reading
	in := bufio.NewReaderSize(f, 1<<20)
	if magic, _ := in.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(in)
		if err != nil {
			return err
		}
		in = bufio.NewReaderSize(z, 1<<20)
	}
	if bom, _ := in.Peek(3); bytes.Equal(bom, []byte("\xEF\xBB\xBF")) {
		_, _ = in.Discard(3) // they were just seen
	}
	head, err := in.Peek(1)
	for err == nil && bytes.ContainsAny(head, " \t\r\n") {
		_, _ = in.Discard(1)
		head, err = in.Peek(1)
	}
	switch {
	case err != nil:
		return err
	case head[0] == '[':
		return readArray(in, fn)
	case head[0] == '{':
		return readLines(in, fn)
	default:
		return readTable(in, fn)
	}
}

func readArray(in io.Reader, fn func(int, []byte) error) error {
	d := json.NewDecoder(in)
	if _, err := d.Token(); err != nil {
		return err
	}
	for row := 1; d.More(); row++ {
		var record json.RawMessage
		if err := d.Decode(&record); err != nil {
			return err
		}
		if err := fn(row, auditData(record)); err != nil {
			return err
		}
	}
	return nil
}

func readLines(in *bufio.Reader, fn func(int, []byte) error) error {
	for row := 1; ; row++ {
		line, err := in.ReadBytes('\n')
		if record := bytes.TrimSpace(line); len(record) > 0 {
			if err := fn(row, auditData(record)); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func readTable(in io.Reader, fn func(int, []byte) error) error {
	r := csv.NewReader(in)
	r.ReuseRecord = true
	header, err := r.Read()
	if err != nil {
		return err
	}
	column := -1
	for i, name := range header {
		if strings.EqualFold(strings.TrimSpace(name), "AuditData") {
			column = i
		}
	}
	if column < 0 {
		return errors.New("there is no column AuditData")
	}
	for row := 2; ; row++ {
		fields, err := r.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := fn(row, []byte(strings.TrimSpace(fields[column]))); err != nil {
			return err
		}
	}
}

// auditData is the record inside what Search-UnifiedAuditLog wraps around it, or the record itself.
func auditData(record []byte) []byte {
	var wrapper struct{ AuditData *string }
	if json.Unmarshal(record, &wrapper) == nil && wrapper.AuditData != nil {
		return []byte(*wrapper.AuditData)
	}
	return record
}
