// Package testkit is what tests of every package stand on: real Kafka brokers, golden files, a logger into the test's output, and a goroutine-leak check.
//
// It is imported by _test.go files and by the test commands below it, never by shipped code; internal/floors holds that.
package testkit

import (
	"bytes"
	"flag"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// update is the -update flag of test binaries. It is not registered outside of tests, so that a test command has clean usage text.
var update = registerUpdate()

func registerUpdate() *bool {
	if !testing.Testing() {
		return new(bool)
	}
	return flag.Bool("update", false, "rewrite the golden files of the tests that run, instead of comparing with them")
}

// Update tells whether the test binary was given -update: tests that hold their golden files in a way of their own then write them. The flag belongs to this
// package; a test package that registers one of that name as well does not start.
func Update() bool { return *update }

// Golden compares got with the file at path, byte by byte, and fails the test with a readable difference. Under -update it writes the
// file, with the folders above it.
func Golden(t testing.TB, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatalf("golden file: %v", err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatalf("golden file: %v", err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("golden file: %v (run this test with -update to write it)", err)
	}
	if bytes.Equal(got, want) {
		return
	}
	t.Errorf("%s differs (-want +got; run this test with -update to accept):\n%s", path, cmp.Diff(string(want), string(got)))
}

// Logger returns a logger of all levels into the output of t. Lines that arrive after the end of t are dropped, because a goroutine
// that outlives its test is for [NoLeaks] to report, not for a panic of the log.
func Logger(t testing.TB) *slog.Logger {
	w := &testWriter{t: t}
	t.Cleanup(w.close)
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// testWriter passes lines on to a test until the test has ended.
type testWriter struct {
	mu sync.Mutex
	t  testing.TB // nil once the test has ended; guarded by mu
}

// Write logs one line.
func (w *testWriter) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.t != nil {
		w.t.Logf("%s", bytes.TrimRight(line, "\n"))
	}
	return len(line), nil
}

func (w *testWriter) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.t = nil
}
