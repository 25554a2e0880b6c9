package app_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"millrace/internal/service"
	"millrace/normalizer/app"
)

func run(t *testing.T, stdin string, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	code = service.Run(t.Context(), app.Program(), args, nil, strings.NewReader(stdin), &o, &e)
	return code, o.String(), e.String()
}

func TestHelpAndTopics(t *testing.T) {
	t.Parallel()
	code, out, errs := run(t, "", "--help")
	if code != 0 || errs != "" || !strings.Contains(out, "seen.memory  a size like 64MiB (default 1GiB)") || !strings.Contains(out, "kafka.brokers") {
		t.Errorf("%d %s %s", code, out, errs)
	}
	code, out, errs = run(t, "", "-topics", "-set", "kafka.prefix=test")
	if code != 0 || errs != "" || !strings.Contains(out, "test.seen.v1") || !strings.Contains(out, "test.normalizer") {
		t.Errorf("%d %s %s", code, out, errs)
	}
}

func TestConfigurationIsRefused(t *testing.T) {
	t.Parallel()
	for set, want := range map[string]string{
		"seen.memory=10":            "seen.memory",
		"seen.cache_dir=/none/such": "seen.cache_dir",
		"dlp.content=hide":          "dlp.content: write masked or clear",
		"batch.records=0":           "batch.records",
		"batch.bytes=1":             "batch.bytes",
		"kafka.partitions=0":        "kafka.partitions",
		"kafka.broker=x":            "did you mean kafka.brokers?",
		"kafka.topics.seen_horizon": "write key=value",
	} {
		code, _, errs := run(t, "", "-check", "-set", set)
		if code != 2 || !strings.Contains(errs, want) || strings.Count(errs, "\n") != 1 {
			t.Errorf("%s: %d %s", set, code, errs)
		}
	}
}

func TestUnreachableBrokerIsOneLine(t *testing.T) {
	t.Parallel()
	code, _, errs := run(t, "", "-check", "-set", "kafka.brokers=127.0.0.1:1", "-set", "log.level=error")
	if code != 1 || !strings.Contains(errs, "127.0.0.1:1") || strings.Count(errs, "\n") != 1 {
		t.Errorf("%d %s", code, errs)
	}
}

const (
	oneRecord     = `{"Id":"6f0c4b1e-0001-4c1e-9c00-000000000001","CreationTime":"2026-03-02T08:00:00","RecordType":6,"Operation":"FileAccessed","Workload":"SharePoint","UserId":"ada@example.org","UserType":0,"OrganizationId":"11111111-2222-3333-4444-555555555555","ObjectId":"https://example.sharepoint.com/sites/a/b.docx","ClientIP":"203.0.113.7"}`
	anotherRecord = `{"Id":"6f0c4b1e-0001-4c1e-9c00-000000000002","CreationTime":"2026-03-02T08:00:01","RecordType":15,"Operation":"UserLoggedIn","Workload":"AzureActiveDirectory","UserId":"bob@example.org","UserType":0,"OrganizationId":"11111111-2222-3333-4444-555555555555"}`
)

func TestMapCommand(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "records.ndjson")
	if err := os.WriteFile(file, []byte(oneRecord+"\n"+anotherRecord+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, errs := run(t, oneRecord, "map", file, "-", "-validate")
	if code != 0 || errs != "" || strings.Count(out, "\n") != 3 {
		t.Fatalf("%d %s %s", code, out, errs)
	}
	var ids []string
	for line := range strings.Lines(out) {
		var ev struct {
			ClassUID int `json:"class_uid"`
			Metadata struct {
				UID string `json:"uid"`
			} `json:"metadata"`
		}
		if err := json.Unmarshal([]byte(line), &ev); err != nil || ev.ClassUID == 0 {
			t.Errorf("%v: %s", err, line)
		}
		ids = append(ids, ev.Metadata.UID)
	}
	if ids[0] != ids[2] || ids[0] == ids[1] {
		t.Errorf("uids %v", ids)
	}
	if code, out, _ := run(t, oneRecord, "map", "-explain"); code != 0 || !strings.Contains(out, "actor.user.name = ada@example.org  ←  UserId") {
		t.Errorf("explain: %d %s", code, out)
	}
	_, other, _ := run(t, oneRecord, "map", "-tenant", "99999999-2222-3333-4444-555555555555")
	if strings.Contains(other, ids[0]) {
		t.Error("another tenant gives the same uid")
	}
}

func TestMapCommandRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, in, args string
		code           int
		want           string
	}{
		{"no id", oneRecord + "\n" + `{"CreationTime":"2026-03-02T08:00:00"}` + "\n", "map", 1, "standard input:2: no_id"},
		{"missing file", "", "map none.ndjson", 1, "none.ndjson"},
		{"tenant", "", "map -tenant x", 2, "-tenant"},
		{"empty", "", "map", 1, "the file is empty"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			code, _, errs := run(t, test.in, strings.Fields(test.args)...)
			if code != test.code || !strings.Contains(errs, test.want) || strings.Count(errs, "\n") != 1 {
				t.Errorf("%d %s", code, errs)
			}
		})
	}
}

func TestSchemasCommand(t *testing.T) {
	t.Parallel()
	code, list, errs := run(t, "", "schemas")
	if code != 0 || errs != "" {
		t.Fatalf("%d %s", code, errs)
	}
	for name := range strings.Lines(list) {
		code, out, errs := run(t, "", "schemas", strings.TrimSpace(name))
		if code != 0 || errs != "" || out == "" {
			t.Errorf("%s: %d, %d bytes, %s", name, code, len(out), errs)
		}
	}
	for _, want := range []string{"asyncapi.yaml\n", "vendor-fields.csv\n", "ocsf/authentication.json\n", "elasticsearch/index-template.json\n"} {
		if !strings.Contains(list, want) {
			t.Errorf("the list lacks %s", want)
		}
	}
	if code, _, errs := run(t, "", "schemas", "none"); code != 2 || !strings.Contains(errs, "there is no none") {
		t.Errorf("%d %s", code, errs)
	}
}
