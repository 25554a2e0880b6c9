package kafkatx

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
)

// logBook keeps what a stage logs.
type logBook struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *logBook) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBook) says(parts ...string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for line := range strings.Lines(b.text.String()) {
		all := true
		for _, p := range parts {
			all = all && strings.Contains(line, p)
		}
		if all {
			return true
		}
	}
	return false
}

// startLogged starts a worker whose log can be read.
func startLogged(t *testing.T, client ClientConfig, cfg StageConfig) (*worker, *logBook) {
	t.Helper()
	book := &logBook{}
	client.Logger = slog.New(slog.NewTextHandler(book, nil))
	c, err := NewClient(client)
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewStage(c, cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	w := &worker{Stage: s, c: c, cancel: cancel, done: make(chan error, 1)}
	go func() { w.done <- s.Run(ctx) }()
	return w, book
}
