package service

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// reloadable notes what it is given, and refuses "bad".
type reloadable struct{ got chan string }

func (reloadable) Run(ctx context.Context) error { <-ctx.Done(); return nil }
func (reloadable) Ready() error                  { return nil }

func (r reloadable) Reload(text string) error {
	if text == "bad" {
		return errors.New("bad is refused")
	}
	r.got <- text
	return nil
}

func TestReload(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "config")
	write := func(text string) {
		t.Helper()
		next := path + ".next"
		if err := os.WriteFile(next, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(next, path); err != nil {
			t.Fatal(err)
		}
	}
	write("first")
	load := func() (string, error) {
		raw, err := os.ReadFile(path)
		return string(raw), err
	}
	logs := make(lines, 100)
	c := reloadable{got: make(chan string, 10)}
	r := reload[string]{file: path, digest: digestOf(path), load: load, every: 10 * time.Millisecond}
	stop := r.watch(t.Context(), c, slog.New(slog.NewTextHandler(logs, nil)))
	want := func(text string) {
		t.Helper()
		select {
		case got := <-c.got:
			if got != text {
				t.Fatalf("reloaded %q, want %q", got, text)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("%q was not reloaded", text)
		}
	}
	write("second")
	want("second")
	write("bad")
	if line := <-logs; !strings.Contains(line, "bad is refused") {
		t.Errorf("log %q", line)
	}
	write("third")
	want("third")
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	want("third") // nothing has changed, and it was asked for
	stop()
	write("after the end")
	if len(c.got) != 0 || len(logs) != 0 {
		t.Errorf("%d more reloads, %d more lines", len(c.got), len(logs))
	}
	none := reload[int]{file: path}
	none.watch(t.Context(), c, slog.New(slog.DiscardHandler))() // takes another type: nothing to watch
}

// lines is a writer of log lines.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}
