package app

import (
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"millrace/internal/broker"
)

const importTenant = "3f1c0b6e-6a0e-4a36-9d57-0f5b8f0b7a11"

func record(i int) string {
	return fmt.Sprintf(`{"CreationTime":"2026-03-02T09:58:41","Id":"6f0b8c53-6a0f-4c0e-2f0f-0000%08d","Operation":"FileDownloaded",`+
		`"OrganizationId":"%s","RecordType":6,"UserType":0,"Workload":"OneDrive","UserId":"ana@example.org","Note":"a \"quoted\", text %d"}`, i, importTenant, i)
}

// importWorld is an embedded broker and a folder for files.
func importWorld(t *testing.T) *world {
	t.Helper()
	b, err := broker.Open(broker.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Log(err)
		}
	})
	w := &world{t: t, broker: b, logs: &lockedBuffer{}, cfg: DefaultConfig()}
	w.cfg.Kafka.Brokers = []string{b.Addr()}
	w.cfg.Kafka.Partitions, w.cfg.Kafka.ControlPartitions = 3, 2
	return w
}

func (w *world) file(name string, content []byte) string {
	w.t.Helper()
	path := filepath.Join(w.t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		w.t.Fatal(err)
	}
	return path
}

func (w *world) doImport(files ...string) (ImportProgress, error) {
	w.t.Helper()
	return Import(w.t.Context(), w.cfg, w.runtime(), ImportOptions{Files: files})
}

// records waits until the import topic has n committed records and returns their values by id, failing on a repeat.
func (w *world) records(topic *topic, n int) map[string]string {
	w.t.Helper()
	for end := time.Now().Add(30 * time.Second); topic.count() < n && time.Now().Before(end); {
		time.Sleep(20 * time.Millisecond)
	}
	out := make(map[string]string)
	for _, r := range topic.all() {
		id := header(r, "ce_recordid")
		if _, twice := out[id]; twice {
			w.t.Errorf("record %s is there twice", id)
		}
		out[id] = string(r.Value)
	}
	if len(out) != n {
		w.t.Errorf("%d records, want %d", len(out), n)
	}
	return out
}

func zip(b []byte) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	_, _ = z.Write(b)
	_ = z.Close()
	return out.Bytes()
}

// formats renders records in each form that can be imported.
func formats(from, to int) map[string][]byte {
	var lines, array, search, table bytes.Buffer
	cw := csv.NewWriter(&table)
	_ = cw.Write([]string{"RecordId", "AuditData", "UserId"})
	array.WriteString("[")
	var results []map[string]any
	for i := from; i < to; i++ {
		r := record(i)
		lines.WriteString(r + "\n")
		if i > from {
			array.WriteString(",\n ")
		}
		array.WriteString(r)
		results = append(results, map[string]any{"RecordType": "SharePointFileOperation", "AuditData": r, "Identity": i})
		_ = cw.Write([]string{fmt.Sprint(i), r, "ana@example.org"})
	}
	array.WriteString("]\n")
	cw.Flush()
	enc, _ := json.MarshalIndent(results, "", "  ")
	search.Write(enc)
	return map[string][]byte{
		"a.ndjson": lines.Bytes(), "b.json": array.Bytes(), "c.json": search.Bytes(), "d.csv": append([]byte("\xEF\xBB\xBF"), table.Bytes()...),
	}
}

func TestImportFormats(t *testing.T) {
	t.Parallel()
	w := importWorld(t)
	imported := w.read(w.cfg.Kafka.Names().Raw("import"))
	n := 0
	var files []string
	for name := range formats(0, 1) {
		content := formats(n, n+1300)[name]
		if name == "c.json" {
			content, name = zip(content), name+".gz"
		}
		files = append(files, w.file(name, content))
		n += 1300
	}
	p, err := w.doImport(files...)
	if err != nil || p.Records != n || p.Done != 4 || p.Bad != 0 {
		t.Fatalf("progress %+v, error %v", p, err)
	}
	got := w.records(imported, n)
	for i := range n {
		if id := fmt.Sprintf("6f0b8c53-6a0f-4c0e-2f0f-0000%08d", i); got[id] != record(i) {
			t.Fatalf("record %d is %q", i, got[id])
		}
	}
	p, err = w.doImport(files...)
	if err != nil || p.Records != 0 || p.Known != n {
		t.Errorf("the second time: progress %+v, error %v", p, err)
	}
	w.records(imported, n)
}

func TestImportGrownAndRepairedFiles(t *testing.T) {
	t.Parallel()
	for name, whole := range formats(0, 2600) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := importWorld(t)
			imported := w.read(w.cfg.Kafka.Names().Raw("import"))
			cut := zip(whole)
			cut = cut[:len(cut)*2/3]
			p, err := w.doImport(w.file(name+".gz", cut))
			if err == nil || !strings.Contains(err.Error(), "cut short") || !strings.Contains(err.Error(), name) {
				t.Fatalf("a cut gzip file: progress %+v, error %v", p, err)
			}
			if p.Records == 0 || p.Records == 2600 {
				t.Fatalf("progress %+v: want some of the rows", p)
			}
			first := p.Records
			w.records(imported, first)
			p, err = w.doImport(w.file(name, whole))
			if err != nil || p.Known != first || p.Records != 2600-first {
				t.Errorf("repaired: progress %+v after %d, error %v", p, first, err)
			}
			w.records(imported, 2600)
		})
	}
}

func TestImportBrokenRows(t *testing.T) {
	t.Parallel()
	w := importWorld(t)
	imported, dead := w.read(w.cfg.Kafka.Names().Raw("import")), w.read(w.cfg.Kafka.Names().DeadLetter(false))
	rows := record(1) + "\n{\"broken\":\n" + record(2) + "\n\n[1]\n" + record(3) + "\n"
	table := "CreationDate;AuditData\n1;\"" + strings.ReplaceAll(record(4), `"`, `""`) + "\"\n2;\"no json\"\n3\n"
	p, err := w.doImport(w.file("rows.ndjson", []byte(rows)), w.file("table.csv", []byte(table)))
	if err != nil || p.Records != 4 || p.Bad != 4 {
		t.Errorf("progress %+v, error %v", p, err)
	}
	w.records(imported, 4)
	for end := time.Now().Add(30 * time.Second); dead.count() < 4 && time.Now().Before(end); {
		time.Sleep(20 * time.Millisecond)
	}
	var places []string
	for _, r := range dead.all() {
		places = append(places, header(r, "__connect.errors.exception.message"))
		if header(r, "ce_reason") != "bad_row" {
			t.Errorf("reason %q", header(r, "ce_reason"))
		}
	}
	for _, want := range []string{"rows.ndjson row 2", "rows.ndjson row 5", "table.csv row 3", "table.csv row 4"} {
		if !strings.Contains(strings.Join(places, "\n"), want) {
			t.Errorf("no dead letter of %s in %q", want, places)
		}
	}
}

func TestImportRefusesFiles(t *testing.T) {
	t.Parallel()
	w := importWorld(t)
	tests := []struct {
		name    string
		content []byte
		want    string
	}{
		{"empty.csv", nil, "is empty"},
		{"column.csv", []byte("a,b\n1,2\n"), "no column AuditData"},
		{"binary.json", []byte("\x7fELF\x00\x01\x02"), "binary file"},
		{"utf16.json", []byte("\xff\xfe{\x00}\x00"), "UTF-16"},
		{"pretty.json", []byte("{\n  \"Id\": \"a\"\n}\n"), "over many lines"},
		{"tenantless.ndjson", []byte("{\"Id\":\"a\"}\n"), "-tenant"},
		{"short.gz", []byte{0x1f, 0x8b, 8}, "gzip"},
	}
	for _, tt := range tests {
		_, err := w.doImport(w.file(tt.name, tt.content))
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), tt.name) {
			t.Errorf("%s: error %v, want %q", tt.name, err, tt.want)
		}
	}
	if _, err := w.doImport(filepath.Join(t.TempDir(), "none.csv")); err == nil || !strings.Contains(err.Error(), "none.csv") {
		t.Errorf("a file that is not there: %v", err)
	}
}
