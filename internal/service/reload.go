package service

import (
	"context"
	"crypto/sha256"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// Reloader is a Component that takes a new configuration while it runs. What it returns is why it goes on with the one it has.
type Reloader[T any] interface {
	Reload(cfg T) error
}

// reloadEvery is how often the configuration file is looked at: its content, because a mounted file may be replaced in ways that leave its
// time alone.
const reloadEvery = 5 * time.Second

// reload brings a changed configuration file to a running component.
type reload[T any] struct {
	file   string // "" = there is none, and nothing can change
	digest string // of the content that the component was made with
	load   func() (T, error)
	every  time.Duration
}

// watch passes each change of the file, and at SIGHUP what the file says then, to the component, if it can take it. A configuration that cannot be
// used is refused with a line, once, and the one before it stays. stop ends it.
func (r reload[T]) watch(ctx context.Context, c Component, log *slog.Logger) (stop func()) {
	component, ok := c.(Reloader[T])
	if !ok || r.file == "" {
		return func() {}
	}
	hup := make(chan os.Signal, 1) // one: the next look is for all signals before it
	signal.Notify(hup, syscall.SIGHUP)
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer signal.Stop(hup)
		tick := time.NewTicker(r.every)
		defer tick.Stop()
		for {
			forced := false
			select {
			case <-ctx.Done():
				return
			case <-hup:
				forced = true
			case <-tick.C:
			}
			now := digestOf(r.file)
			if now == "" || now == r.digest && !forced { // a file that is just being replaced is looked at again
				continue
			}
			r.digest = now
			cfg, err := r.load()
			if err == nil {
				err = component.Reload(cfg)
			}
			if err != nil {
				log.Error("the changed configuration is refused, the one before it stays in use", "err", err)
			}
		}
	}()
	return func() { cancel(); <-done }
}

// digestOf is the SHA-256 of a file's content, "" if it cannot be read.
func digestOf(path string) string {
	if path == "" {
		return ""
	}
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }() // opened for reading
	h := sha256.New()
	if _, err := io.Copy(h, io.LimitReader(f, 16<<20)); err != nil {
		return ""
	}
	return string(h.Sum(nil))
}
