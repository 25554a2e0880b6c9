package main

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"

	"millrace/internal/m365sim"
	"millrace/internal/m365sim/tenant"
)

func TestParse(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name string
		args []string
		want string // in the error; empty for none
	}{
		{"nothing", nil, ""},
		{"fault", []string{"-fault", "cut=0.1@blob", "-fault", "internal=1"}, ""},
		{"unknown fault", []string{"-fault", "meteor=1"}, "unknown"},
		{"rate too high", []string{"-fault", "cut=2"}, "between 0 and 1"},
		{"argument", []string{"now"}, "unexpected argument"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, _, err := parse(c.args, &bytes.Buffer{})
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestServe(t *testing.T) {
	t.Parallel()
	cfg, _, err := parse([]string{"-records", "100", "-dir", t.TempDir()}, &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // stops as soon as it is up
	var out bytes.Buffer
	if err := serve(ctx, cfg, "127.0.0.1:0", &out); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "https://127.0.0.1:") {
		t.Errorf("banner: %s", out.String())
	}
	if err := serve(ctx, cfg, "0.0.0.0:0", &out); err == nil || !strings.Contains(err.Error(), "loopback") {
		t.Errorf("a remote address: %v", err)
	}
}

func TestProbe(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := m365sim.New(m365sim.Config{Dir: dir, Tenants: []tenant.Config{{Records: 100}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	args := []string{"probe", "-dir", dir, "-addr", strings.TrimPrefix(s.URL(), "https://")}
	if err := command(t.Context(), args, &bytes.Buffer{}, &bytes.Buffer{}); err != nil {
		t.Error(err)
	}
	if err := s.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := command(t.Context(), args, &bytes.Buffer{}, &bytes.Buffer{}); err == nil {
		t.Error("a stopped simulator is up")
	}
}

func TestDumpAndReport(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := command(t.Context(), []string{"dump", "-records", "200", "-seed", "4"}, &out, &bytes.Buffer{}); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) < 200 || !json.Valid([]byte(lines[0])) {
		t.Errorf("%d lines, the first is %s", len(lines), lines[0])
	}
	out.Reset()
	if err := command(t.Context(), []string{"report", "-records", "200"}, &out, &bytes.Buffer{}); err != nil || !strings.Contains(out.String(), "workload Exchange") {
		t.Errorf("%v\n%s", err, out.String())
	}
	if err := command(t.Context(), []string{"report", "-records", "10", "nowhere.ndjson"}, &out, &bytes.Buffer{}); err == nil {
		t.Error("a missing file was read")
	}
}
