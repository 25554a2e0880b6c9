package app_test

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/service"
	"millrace/normalizer/app"
	"millrace/pkg/audit"
	"millrace/pkg/wire"
)

// command runs the binary against the pipe's broker.
func (p *pipe) command(args ...string) (code int, out, errs string) {
	p.t.Helper()
	var o, e bytes.Buffer
	args = append([]string{"-set", "kafka.brokers=" + strings.Join(p.brokers, ","), "-set", "kafka.partitions=2", "-set", "log.level=error"}, args...)
	code = service.Run(p.ctx, app.Program(), args, nil, strings.NewReader(""), &o, &e)
	return code, o.String(), e.String()
}

func (p *pipe) mustRun(args ...string) string {
	p.t.Helper()
	code, out, errs := p.command(args...)
	if code != 0 {
		p.t.Fatalf("%v: exit code %d: %s", args, code, errs)
	}
	return out
}

// refuse puts a record on the dead-letter topic, as a normalizer with a defect did.
func (p *pipe) refuse(source audit.Source, id string, reason wire.Reason) []byte {
	p.t.Helper()
	raw := record(source, id, "")
	raw.Offset = 5
	p.produce(wire.DeadLetter(names, raw, wire.StageNormalizer, reason, "an example of a defect")...)
	return raw.Value
}

func TestRedrive(t *testing.T) {
	t.Parallel()
	p := newPipe(t)
	value := p.refuse(audit.SourceSharePoint, "was broken", wire.ReasonMappingFailed)
	p.refuse(audit.SourceDLP, "match", wire.ReasonMappingFailed)
	p.refuse(audit.SourceSharePoint, "no time", wire.ReasonNoTime)
	event := record(audit.SourceSharePoint, "event", "")
	event.Topic = names.Events(audit.WorkloadSharePoint)
	p.produce(wire.DeadLetter(names, event, wire.StageEnricher, wire.ReasonInvalidEvent, "an event")...)

	list := p.mustRun("deadletters")
	if strings.Count(list, "\n") != 4 || strings.Contains(list, "example.org") || !strings.Contains(list, "an example of a defect") {
		t.Errorf("list: %s", list)
	}
	if list := p.mustRun("deadletters", "-json", "-reason", "mapping_failed", "-topic", "general", "-since", "1h"); strings.Count(list, "\n") != 1 || !strings.Contains(list, `"record_id":"was broken"`) {
		t.Errorf("list of one reason: %s", list)
	}
	if list := p.mustRun("deadletters", "list", "-until", "1h"); list != "" {
		t.Errorf("list of old ones: %s", list)
	}
	id, _, _ := strings.Cut(p.mustRun("deadletters", "-reason", "mapping_failed", "-topic", "general"), " ")
	if shown := p.mustRun("deadletters", "show", id); shown != string(value)+"\n" {
		t.Errorf("show %s: %s", id, shown)
	}

	dry := p.mustRun("redrive", "-dry-run", "-all")
	if !strings.Contains(dry, "3 would be redriven, 1 skipped") || !strings.Contains(dry, "it is no raw record") {
		t.Errorf("dry run: %s", dry)
	}
	if got := p.committed(names.Raw(audit.SourceRedrive)); len(got) != 0 {
		t.Errorf("the dry run wrote %d records", len(got))
	}
	for range 2 {
		if out := p.mustRun("redrive", "-reason", "mapping_failed"); !strings.Contains(out, "2 redriven, 0 skipped") {
			t.Errorf("redrive: %s", out)
		}
	}
	p.mustRun("redrive", id)
	redriven := p.committed(names.Raw(audit.SourceRedrive))
	if len(redriven) != 5 || !anyValue(redriven, value) {
		t.Errorf("%d records on the redrive topic", len(redriven))
	}
	p.start(p.config())
	p.caughtUp()
	if diff := cmp.Diff([]string{"was broken"}, p.ids(names.Events(audit.WorkloadSharePoint))); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"match"}, p.ids(names.Events(audit.WorkloadDLP))); diff != "" {
		t.Error(diff)
	}
}

// TestTwoRedrivesAtOnce lets two of them fence each other again and again while a normalizer takes what they write.
func TestTwoRedrivesAtOnce(t *testing.T) {
	t.Parallel()
	p := newPipe(t)
	var want []string
	for i := range 50 {
		id := fmt.Sprintf("id-%02d", i)
		want = append(want, id)
		p.refuse(audit.SourceSharePoint, id, wire.ReasonMappingFailed)
	}
	p.start(p.config())
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for range 5 {
				code, _, errs := p.command("redrive", "-all")
				if code != 0 && strings.Count(errs, "\n") != 1 {
					t.Errorf("exit code %d: %s", code, errs)
				}
			}
		})
	}
	wg.Wait()
	p.mustRun("redrive", "-all")
	p.caughtUp()
	if diff := cmp.Diff(want, p.ids(names.Events(audit.WorkloadSharePoint))); diff != "" {
		t.Error(diff)
	}
}

func anyValue(records []*kgo.Record, value []byte) bool {
	for _, r := range records {
		if bytes.Equal(r.Value, value) {
			return true
		}
	}
	return false
}

func TestDeadLetterCommandsRefuse(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"redrive":                         "or say -all",
		"redrive general/1":               "is no dead letter",
		"redrive -reason bad":             "-reason: bad is none of",
		"redrive -all -topic x":           "-topic: write general or dlp",
		"deadletters shwo":                "unexpected shwo",
		"deadletters show":                "give the id",
		"deadletters -since yesterday":    "-since:",
		"deadletters -tenant example.org": "-tenant",
	} {
		code, _, errs := run(t, "", strings.Fields(args)...)
		if code != 2 || !strings.Contains(errs, want) || strings.Count(errs, "\n") != 1 {
			t.Errorf("%s: %d %s", args, code, errs)
		}
	}
}
