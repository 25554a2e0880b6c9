package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
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
