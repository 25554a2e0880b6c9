package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// TestUpToDate fails when the tables were changed and go generate was not run.
func TestUpToDate(t *testing.T) {
	t.Parallel()
	tables, err := load("../../../../schemas/ocsf")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := tables.writeAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := tables.writeSchemas(dir); err != nil {
		t.Fatal(err)
	}
	if err := tables.writeTemplate(dir); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) < 10 {
		t.Fatalf("got %d generated files: %v", len(files), err)
	}
	for _, f := range files {
		committed := "../.."
		if filepath.Ext(f) == ".json" {
			committed = "../../../../schemas/ocsf"
		}
		if filepath.Base(f) == "index-template.json" {
			committed = "../../../../schemas/elasticsearch"
		}
		want, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(committed, filepath.Base(f)))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is out of date: run go generate ./pkg/ocsf", filepath.Base(f))
		}
	}
}
