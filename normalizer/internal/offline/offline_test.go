package offline

import (
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"millrace/normalizer/internal/mapping"
	"millrace/pkg/audit"
)

// echo is a mapper whose event is the record itself, and which refuses what asks for it.
type echo struct{}

func (echo) Map(dst []mapping.Event, rec audit.Record, _ uint64) ([]mapping.Event, error) {
	switch {
	case bytes.Contains(rec.Raw, []byte(`"refuse"`)):
		return dst, &mapping.Refusal{Reason: mapping.ReasonNoTime, Detail: "no time"}
	case bytes.Contains(rec.Raw, []byte(`"fail"`)):
		return dst, errors.New("a defect")
	}
	return append(dst, mapping.Event{Value: []byte(fmt.Sprintf("%s %s %s", rec.Tenant, rec.Domain, bytes.Join(bytes.Fields(rec.Raw), nil)))}), nil
}

func (m echo) Explain(rec audit.Record, digest uint64) (mapping.Explanation, error) {
	_, err := m.Map(nil, rec, digest)
	return mapping.Explanation{Rule: "a rule"}, err
}

const (
	nobody = "00000000-0000-0000-0000-000000000000 audit "
	one    = `{"Id":"1"}`
	two    = `{"Id":"2"}`
)

func zipped(t *testing.T, s string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(s)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func csvOf(t *testing.T, rows ...[]string) string {
	t.Helper()
	var b strings.Builder
	w := csv.NewWriter(&b)
	if err := w.WriteAll(rows); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestForms(t *testing.T) {
	t.Parallel()
	both := []string{nobody + one, nobody + two}
	export := csvOf(t, []string{"RecordId", "AuditData", "x"}, []string{"1", one, ""}, []string{"2", two, ""})
	tests := []struct {
		name, in string
		want     []string
		errs     string // of each line the beginning
		err      string
	}{
		{name: "lines", in: one + "\n" + two + "\n", want: both},
		{name: "lines without an end", in: one + "\r\n\r\n" + two, want: both},
		{name: "byte order mark and blanks", in: "\xef\xbb\xbf\n  " + one + "\n" + two, want: both},
		{name: "array", in: " [" + one + ",\n" + two + "]", want: both},
		{name: "empty array", in: "[]"},
		{name: "one object", in: one, want: both[:1]},
		{name: "objects over several lines", in: "{\n  \"Id\": \"1\"\n}\n{\n\"Id\":\n\"2\"}", want: both},
		{name: "gzip", in: zipped(t, one+"\n"+two), want: both},
		{name: "gzip of CSV", in: zipped(t, export), want: both},
		{name: "CSV", in: export, want: both},
		{name: "CSV with a mark", in: "\xef\xbb\xbf" + export, want: both},
		{name: "PowerShell", in: `[{"RecordType":"6","AuditData":"{\"Id\":\"1\"}"},{"AuditData":"{\"Id\":\"2\"}"}]`, want: both},
		{name: "a record with a member of that name", in: `{"Id":"1","CreationTime":"x","AuditData":"{}"}`, want: []string{nobody + `{"Id":"1","CreationTime":"x","AuditData":"{}"}`}},
		{name: "tenant and domain", in: `{"Id":"1","OrganizationId":"AAAAAAAA-2222-3333-4444-555555555555","RecordType":11}`, want: []string{`aaaaaaaa-2222-3333-4444-555555555555 dlp {"Id":"1","OrganizationId":"AAAAAAAA-2222-3333-4444-555555555555","RecordType":11}`}},
		{name: "broken line", in: one + "\n{\"Id\":}\n" + two, want: both, errs: "f:2: invalid_json"},
		{name: "broken first line", in: "{\"Id\":}\n" + one + "\n" + two, want: both, errs: "f:1: invalid_json"},
		{name: "refused line", in: one + "\n\n{\"refuse\":1}\n" + two, want: both, errs: "f:3: no_time: no time"},
		{name: "defect", in: one + "\n{\"fail\":1}\n" + two, want: both, errs: "f:2: mapping_failed"},
		{name: "array cut off", in: "[" + one + "," + two, want: both, errs: "f:record 3: invalid_json: the array is cut off"},
		{name: "array with garbage", in: "[" + one + "," + two + ",}", want: both, errs: "f:record 3: invalid_json: the rest is not read"},
		{name: "array of texts", in: `["x",` + one + "," + two + "]", want: both, errs: "f:record 1: invalid_json"},
		{name: "CSV with a broken row", in: "AuditData\n\"" + strings.ReplaceAll(one, `"`, `""`) + "\"\n\"x\"y\"\n\"" + strings.ReplaceAll(two, `"`, `""`) + "\"\n", want: both, errs: "f:3: invalid_json"},
		{name: "empty", in: "", err: "f: the file is empty"},
		{name: "blank", in: " \n ", err: "f: the file is empty"},
		{name: "CSV without the column", in: "a,b\n1,2\n", err: "f: neither JSON nor a CSV with the column AuditData"},
		{name: "binary", in: "\x7fELF\x00\x01", err: "f: neither JSON nor a CSV"},
		{name: "gzip cut off", in: zipped(t, one+"\n"+two)[:30], err: "f: unexpected EOF"},
		{name: "line too long", in: one + "\n{\"Id\":\"" + strings.Repeat("x", maxRecord) + "\"}\n" + two, want: both, errs: "f:2: invalid_json: the line is longer"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var out, errs bytes.Buffer
			r := New(echo{}, Options{}, &out, &errs)
			err := r.Map(t.Context(), "f", strings.NewReader(test.in))
			if test.err == "" && err != nil || test.err != "" && (err == nil || !strings.HasPrefix(err.Error(), test.err)) {
				t.Errorf("got %v, want %q", err, test.err)
			}
			if err := r.Flush(); err != nil {
				t.Fatal(err)
			}
			var got []string
			for line := range strings.Lines(out.String()) {
				got = append(got, strings.TrimSuffix(line, "\n"))
			}
			if diff := cmp.Diff(test.want, got); diff != "" && test.err == "" {
				t.Error(diff)
			}
			if !strings.HasPrefix(errs.String(), test.errs) || test.errs == "" && errs.Len() > 0 || strings.Count(errs.String(), "\n") > 1 {
				t.Errorf("reported %q, want %q", &errs, test.errs)
			}
			if r.Failed() != (test.errs != "") {
				t.Errorf("failed: %v", r.Failed())
			}
		})
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	var out, errs bytes.Buffer
	r := New(echo{}, Options{Explain: true}, &out, &errs)
	if err := r.Map(t.Context(), "f", strings.NewReader(one+"\n{\"refuse\":1}\n")); err != nil {
		t.Fatal(err)
	}
	if err := r.Flush(); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(out.String(), "record    f:1\nrule      a rule\n") || !strings.HasPrefix(errs.String(), "f:2: no_time") {
		t.Errorf("wrote %q, reported %q", &out, &errs)
	}
}

// classed is a mapper whose events have the class and activity that the record says.
type classed struct{ echo }

func (classed) Map(dst []mapping.Event, rec audit.Record, _ uint64) ([]mapping.Event, error) {
	var e mapping.Event
	if _, err := fmt.Sscanf(string(rec.Raw), `{"Id":"%d/%d"}`, &e.ClassUID, &e.ActivityID); err != nil {
		return dst, err
	}
	e.Value = []byte("{}")
	return append(dst, e), nil
}

func TestSummary(t *testing.T) {
	t.Parallel()
	var out, errs bytes.Buffer
	r := New(classed{}, Options{Summary: true, Validate: true}, &out, &errs)
	const in = `{"Id":"6003/1"}` + "\n" + `{"Id":"3001/99"}` + "\n" + `{"Id":"3001/0"}` + "\n" + `{"Id":"3001/2"}` + "\n" + `{"Id":"x"}` + "\n{"
	if err := r.Map(t.Context(), "f", strings.NewReader(in)); err != nil {
		t.Fatal(err)
	}
	if err := r.Flush(); err != nil {
		t.Fatal(err)
	}
	const want = "f: 6 records, 2 refused, 4 events, 4 invalid, 75.0 % in a specific class, 50.0 % with a named activity, 25.0 % with activity 99\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(one + "\n" + two))
	f.Add([]byte("[" + one + "," + two + "]"))
	f.Add([]byte("{\n\"Id\":\"1\"\n}"))
	f.Add([]byte("RecordId,AuditData\n1,\"{}\"\n"))
	f.Add([]byte{0x1f, 0x8b, 8, 0})
	f.Fuzz(func(t *testing.T, in []byte) {
		var out, errs bytes.Buffer
		_ = New(echo{}, Options{}, &out, &errs).Map(t.Context(), "f", bytes.NewReader(in))
	})
}
