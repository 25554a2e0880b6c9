package network

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"
)

// File is a file that may be replaced while the program runs.
type File interface {
	// Stamp changes whenever the content may have changed. It is cheap.
	Stamp() (string, error)
	// Read returns the whole content, in memory of its own, and refuses a size that cannot be meant.
	Read() ([]byte, error)
}

// Geo keeps Databases up to date with their files. Lookups in progress go on with what they started with.
type Geo struct {
	current atomic.Pointer[Databases]
	files   [2]File // location, operator; nil = not configured. Set once

	// Owned by whoever calls reload: New, then Run.
	stamps [2]string
}

// NewGeo opens the files; either may be nil. A file that cannot be read or is no MMDB is an error now and only a warning later.
func NewGeo(location, operator File) (*Geo, error) {
	g := &Geo{files: [2]File{location, operator}}
	g.current.Store(&Databases{})
	for i := range g.files {
		if _, err := g.reload(i); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// Databases is the newest state.
func (g *Geo) Databases() Databases { return *g.current.Load() }

// Run looks every interval for files that were replaced, until ctx ends. A bad replacement is logged, counted by failed and not
// used: the last good database stays.
func (g *Geo) Run(ctx context.Context, interval time.Duration, log *slog.Logger, failed func()) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for i := range g.files {
			changed, err := g.reload(i)
			switch {
			case err != nil:
				failed()
				log.Warn("lookup database not replaced, the previous one stays in use", slog.Any("err", err))
			case changed:
				log.Info("lookup database replaced", slog.String("version", g.Databases().Version()))
			}
		}
	}
}

func (g *Geo) reload(i int) (changed bool, err error) {
	if g.files[i] == nil {
		return false, nil
	}
	stamp, err := g.files[i].Stamp()
	if err != nil {
		return false, fmt.Errorf("look at MMDB file: %w", err)
	}
	if stamp == g.stamps[i] {
		return false, nil
	}
	data, err := g.files[i].Read()
	if err != nil {
		return false, fmt.Errorf("read MMDB file: %w", err)
	}
	db, err := OpenDatabase(data)
	if err != nil {
		// Remembered, so that one bad file is one warning; the next replacement is looked at again.
		g.stamps[i] = stamp
		return false, err
	}
	next := g.Databases()
	if i == 0 {
		next.Location = db
	} else {
		next.Operator = db
	}
	g.current.Store(&next)
	g.stamps[i] = stamp
	return true, nil
}
