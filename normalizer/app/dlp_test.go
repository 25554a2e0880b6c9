package app_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"millrace/internal/service"
	"millrace/normalizer/app"
	"millrace/pkg/audit"
	"millrace/pkg/wire"
)

// matched are the texts that DLP rules matched in the fixtures of the mapping.
var matched = []string{"4111 1111 1111 1111", "5500005555555559"}

// dlpRecords are the fixtures' records that hold such a text.
func dlpRecords(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("../internal/mapping/testdata/dlp-*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(b), "-- input.json --\n")
		body, _, _ := strings.Cut(rest, "\n")
		if holdsMatched([]byte(body)) {
			out = append(out, body)
		}
	}
	if len(out) < 2 {
		t.Fatalf("%d fixtures hold a matched text", len(out))
	}
	return out
}

func holdsMatched(b []byte) bool {
	for _, text := range matched {
		if bytes.Contains(b, []byte(text)) {
			return true
		}
	}
	return false
}

// TestMatchedTextStaysWhereItBelongs looks for what DLP rules matched on every topic, in the log at its most talkative, and in what the commands
// print. Raw topics hold what was served, the dlp dead letters what was refused, and redrive what was sent again; nothing else may have it.
func TestMatchedTextStaysWhereItBelongs(t *testing.T) {
	t.Parallel()
	p := newPipe(t)
	records := dlpRecords(t)
	for _, body := range records {
		p.produce(
			rawRecord(audit.SourceDLP, audit.DomainDLP, body),
			rawRecord(audit.SourceGeneral, audit.DomainAudit, strings.Replace(body, `"Id":"`, `"Id":"b`, 1)), // as an export or a copy elsewhere may bring it
			rawRecord(audit.SourceImport, audit.DomainDLP, strings.Replace(body, `"Id":"`, `"Id":"c`, 1)),
			rawRecord(audit.SourceDLP, audit.DomainDLP, strings.Replace(body, `"CreationTime":"`, `"CreationTime":"x`, 1)), // refused
			rawRecord(audit.SourceGeneral, audit.DomainAudit, strings.Replace(body, `"CreationTime":"`, `"CreationTime":"x`, 1)),
			rawRecord(audit.SourceDLP, audit.DomainDLP, body[:len(body)-1]), // no JSON
		)
	}
	ctx, cancel := context.WithCancel(p.ctx)
	var logs lockedBuffer
	code := make(chan int, 1)
	go func() {
		code <- service.Run(ctx, app.Program(), []string{
			"-set", "kafka.brokers=" + strings.Join(p.brokers, ","), "-set", "kafka.partitions=2", "-set", "kafka.control_partitions=1",
			"-set", "admin.listen=off", "-set", "log.level=debug",
		}, nil, strings.NewReader(""), &logs, &logs)
	}()
	p.running = &running{done: make(chan error)}
	p.caughtUp()
	p.mustRun("redrive", "-all")
	p.caughtUp()
	cancel()
	<-code

	allowed := map[string]bool{names.DeadLetter(true): true}
	for _, topic := range names.RawAll() {
		allowed[topic] = true
	}
	events, refused := 0, 0
	for _, spec := range p.config().Kafka.Specs("") {
		for _, r := range p.committed(spec.Name) {
			found := holdsMatched(r.Value)
			for _, h := range r.Headers {
				if holdsMatched(h.Value) {
					t.Errorf("%s: header %s holds a matched text", spec.Name, h.Key)
				}
			}
			if holdsMatched(r.Key) || found && !allowed[spec.Name] {
				t.Errorf("%s holds a matched text", spec.Name)
			}
			switch {
			case spec.Name == names.Events(audit.WorkloadDLP) && bytes.Contains(r.Value, []byte("masked, length")):
				events++
			case spec.Name == names.DeadLetter(true) && found && header(r, wire.HeaderReason) != "":
				refused++
			}
		}
	}
	if events < 3*len(records) || refused < 3*len(records) {
		t.Errorf("%d masked events and %d dead letters of %d records", events, refused, len(records))
	}
	in := strings.Join(records, "\n")
	for name, out := range map[string]string{
		"the log":                logs.String(),
		"deadletters":            p.mustRun("deadletters"),
		"deadletters -json":      p.mustRun("deadletters", "-json"),
		"redrive -dry-run":       p.mustRun("redrive", "-dry-run", "-all"),
		"map":                    mapped(t, in, "map"),
		"map -explain":           mapped(t, in, "map", "-explain"),
		"map -validate -summary": mapped(t, in, "map", "-validate", "-summary"),
		"map of broken records":  mapped(t, strings.ReplaceAll(in, `"CreationTime":"`, `"CreationTime":"x`), "map"),
	} {
		if holdsMatched([]byte(out)) {
			t.Errorf("%s holds a matched text", name)
		}
		if out == "" {
			t.Errorf("%s is empty", name)
		}
	}
}

// mapped is all that a command prints.
func mapped(t *testing.T, in string, args ...string) string {
	t.Helper()
	_, out, errs := run(t, in, args...)
	return out + errs
}
