package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/service"
	"millrace/pkg/ocsf"
	"millrace/schemas"
)

// outcome runs the command line and returns what it printed.
func outcome(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	code = run(ctx, args, &out, &errs)
	return code, out.String(), errs.String()
}

// TestOnce carries a small tenant and holds every value of every topic against its JSON Schema, and every event against the validator of
// pkg/ocsf and, where it is at hand, an independent one.
func TestOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	code, out, errs := outcome(t, "-once", "-records", "3000", "-dump", dir)
	if code != 0 || !strings.Contains(out, "proof holds") || !strings.Contains(out, "first enriched event after") {
		t.Fatalf("got exit code %d\n%s%s", code, out, errs)
	}
	schema := map[string]*jsonschema.Schema{}
	for _, topic := range []string{"event", "enriched", "ledger", "directory", "checkpoints", "status"} {
		schema[topic] = compile(t, topic+".v1.json")
	}
	schema["events"] = schema["event"]
	files, err := filepath.Glob(filepath.Join(dir, "*.ndjson"))
	if err != nil || len(files) < 40 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	var events []string
	for _, path := range files {
		kind := strings.Split(filepath.Base(path), ".")[1]
		if kind == "events" || kind == "enriched" {
			events = append(events, path)
		}
		if schema[kind] != nil {
			holdAgainst(t, schema[kind], path, kind == "events" || kind == "enriched")
		}
	}
	judge := filepath.Join("..", "..", "..", "shared", "tools", "ocsf_validate.py")
	if _, err := os.Stat(judge); err != nil {
		t.Log("without the independent validator")
		return
	}
	if text, err := exec.CommandContext(t.Context(), "python3", append([]string{judge}, events...)...).CombinedOutput(); err != nil {
		t.Errorf("the independent validator: %v\n%.3000s", err, text)
	}
}

func compile(t *testing.T, name string) *jsonschema.Schema {
	t.Helper()
	text, err := schemas.FS.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource(name, doc); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	s, err := c.Compile(name)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return s
}

// holdAgainst checks each line of a dump.
func holdAgainst(t *testing.T, s *jsonschema.Schema, path string, event bool) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte("\n")) {
		if len(line) == 0 {
			continue
		}
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(line))
		if err == nil {
			err = s.Validate(value)
		}
		if err != nil {
			t.Fatalf("%s line %d: %v\n%.1000s", filepath.Base(path), i+1, err, line)
		}
		if event {
			for _, p := range ocsf.Validate(line) {
				if !p.Warning {
					t.Fatalf("%s line %d: %v\n%.1000s", filepath.Base(path), i+1, p, line)
				}
			}
		}
	}
}

func TestDumpLine(t *testing.T) {
	t.Parallel()
	r := &kgo.Record{Partition: 2, Offset: 7, Key: []byte("k"), Value: []byte("no JSON"), Headers: []kgo.RecordHeader{{Key: "ce_id", Value: []byte("1")}}}
	got, err := dumpLine(r, true)
	if want := `{"partition":2,"offset":7,"key":"k","headers":{"ce_id":"1"},"value":"no JSON"}`; err != nil || string(got) != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
	if got, err := dumpLine(&kgo.Record{}, false); err != nil || string(got) != "null" {
		t.Errorf("a tombstone: got %s, %v", got, err)
	}
}

// TestProofNamesTampering carries a tenant once and then damages one record after the other on the broker: each time the verdict names
// another problem.
func TestProofNamesTampering(t *testing.T) {
	t.Parallel()
	opt := options{once: true, records: 1500, seed: 3, dir: t.TempDir(), prefix: "m365", partitions: 4}
	reg := prometheus.NewRegistry()
	log := slog.New(slog.DiscardHandler)
	w, err := open(opt, log, reg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := w.close(); err != nil {
			t.Error(err)
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	p := &pipeline{world: w, rt: service.Runtime{Log: log, Registry: reg}, out: &console{w: io.Discard}}
	if err := p.run(ctx); err != nil {
		t.Fatal(err)
	}
	if report, err := w.prove(ctx); err != nil || !report.Holds() {
		t.Fatalf("before any tampering: %v: %+v", err, report)
	}
	for _, tt := range []struct{ what, want string }{
		{"enriched:alter", "altered: enriched event"},
		{"event:alter", "altered: event"},
		{"raw:alter", "altered: raw"},
		{"enriched:drop", "missing: enriched event"},
		{"event:drop", "missing: event"},
		{"raw:drop", "missing: raw"},
		{"enriched:repeat", "repeated: enriched event"},
		{"event:repeat", "repeated: event"},
		{"raw:repeat", "repeated: raw"},
	} {
		w.opt.tamper = tt.what
		var out bytes.Buffer
		holds, err := w.verdict(ctx, &out)
		if err != nil {
			t.Fatal(err)
		}
		if holds || !strings.Contains(out.String(), tt.want) {
			t.Errorf("%s: holds %t, want %q in\n%s", tt.what, holds, tt.want, out.String())
		}
	}
}

func TestImport(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	record := func(i int) string {
		return fmt.Sprintf(`{"Id":"r%d","CreationTime":"2026-03-02T08:00:%02d","Operation":"UserLoggedIn","OrganizationId":"3f1c0b6e-6a0e-4a36-9d57-0f5b8f0b7a11",`+
			`"RecordType":15,"Workload":"AzureActiveDirectory","UserId":"ana@example.org","UserType":0}`, i, i%60)
	}
	var lines, rows, list []string
	for i := range 50 {
		lines = append(lines, record(i))
		rows = append(rows, `2026-03-02T08:00:00Z,"`+strings.ReplaceAll(record(100+i), `"`, `""`)+`"`)
		list = append(list, record(200+i))
	}
	lines = append(lines, record(7), `{"OrganizationId":"3f1c0b6e-6a0e-4a36-9d57-0f5b8f0b7a11"}`, `no record`)
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	if _, err := z.Write([]byte("[" + strings.Join(list, ",\n") + "]")); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	files := []string{
		write("a.ndjson", strings.Join(lines, "\n")+"\n"), write("b.csv", "CreationDate,AuditData\r\n"+strings.Join(rows, "\r\n")+"\r\n"), write("c.json.gz", zipped.String()),
	}
	data := filepath.Join(dir, "data")
	args := append([]string{"-data", data, "-import"}, files...)
	code, out, errs := outcome(t, append(args, "-once")...)
	if code != 0 || !strings.Contains(out, "153 rows: 152 new, 0 known from an earlier import, 1 refused") {
		t.Fatalf("got exit code %d\n%s%s", code, out, errs)
	}
	code, out, errs = outcome(t, append(args, "-once")...)
	if code != 0 || !strings.Contains(out, "0 new, 153 known") {
		t.Errorf("second import: got exit code %d\n%s%s", code, out, errs)
	}
	code, out, errs = outcome(t, "-once", "-import", write("binary", "\x00\x01\x02"), "-data", data)
	if code != 1 || !strings.Contains(errs, "binary") {
		t.Errorf("a binary file: got exit code %d\n%s%s", code, out, errs)
	}
}

func TestRefuses(t *testing.T) {
	t.Parallel()
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := busy.Addr().String()
	if err := busy.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		args []string
		code int
		want string
	}{
		{"unknown flag", []string{"-onec"}, 2, "onec"},
		{"stray argument", []string{"file.ndjson"}, 2, "-import"},
		{"no records", []string{"-records", "0"}, 2, "-records"},
		{"dump without once", []string{"-dump", "x"}, 2, "-once"},
		{"real tenant on the embedded broker", []string{"-config", "x.yaml"}, 2, "-accept-embedded-broker-risk"},
		{"two sources", []string{"-config", "x.yaml", "-import", "y"}, 2, "choose one"},
		{"data folder is a file", []string{"-once", "-data", file}, 1, "data folder"},
		{"missing file", []string{"-once", "-import", "missing.csv"}, 1, "missing.csv"},
		{"nobody listens", []string{"-once", "-kafka", nobody}, 1, nobody},
		{"missing configuration", []string{"-config", "missing.yaml", "-accept-embedded-broker-risk"}, 1, "missing.yaml"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			code, _, errs := outcome(t, tt.args...)
			if code != tt.code || !strings.Contains(errs, tt.want) {
				t.Errorf("got exit code %d, want %d with %q in: %s", code, tt.code, tt.want, errs)
			}
		})
	}
}

func TestDataFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	args := []string{"-once", "-records", "200", "-data", dir}
	if code, out, errs := outcome(t, args...); code != 0 {
		t.Fatalf("got exit code %d\n%s%s", code, out, errs)
	}
	if code, out, errs := outcome(t, args...); code != 0 || !strings.Contains(out, "proof holds") {
		t.Errorf("again: got exit code %d\n%s%s", code, out, errs)
	}
	if code, _, errs := outcome(t, "-once", "-records", "300", "-data", dir); code != 1 || !strings.Contains(errs, "holds the tenant of -seed 1 -records 200") {
		t.Errorf("another tenant: got exit code %d: %s", code, errs)
	}
	w, err := open(options{once: true, records: 200, seed: 1, dir: dir, prefix: "m365", partitions: 4}, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	code, _, errs := outcome(t, args...)
	if code != 1 || !strings.Contains(errs, "in use") {
		t.Errorf("a second instance: got exit code %d: %s", code, errs)
	}
	if err := w.close(); err != nil {
		t.Error(err)
	}
}

// TestLive holds that without -once the tenant goes on living and the process stops gracefully.
func TestLive(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := &signalled{want: "first enriched event", seen: make(chan struct{})}
	var errs bytes.Buffer
	done := make(chan int, 1)
	go func() { done <- run(ctx, []string{"-records", "200"}, out, &errs) }()
	select {
	case <-out.seen:
	case code := <-done:
		t.Fatalf("ended with %d: %s", code, errs.String())
	case <-time.After(3 * time.Minute):
		t.Fatal("no event")
	}
	cancel()
	select {
	case code := <-done:
		if code != 0 {
			t.Errorf("got exit code %d: %s", code, errs.String())
		}
	case <-time.After(time.Minute):
		t.Error("it does not stop")
	}
}

// signalled says when something was printed.
type signalled struct {
	want string
	all  strings.Builder
	seen chan struct{}
	once bool
}

func (s *signalled) Write(p []byte) (int, error) {
	s.all.Write(p)
	if !s.once && strings.Contains(s.all.String(), s.want) {
		s.once = true
		close(s.seen)
	}
	return len(p), nil
}
