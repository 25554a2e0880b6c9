package network

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"
)

// File is a file that may be replaced while the program runs.
type File interface {
	// Name is what the operator calls it.
	Name() string
	// Stamp changes whenever the content may have changed. It is cheap.
	Stamp() (string, error)
	// Read returns the whole content, in memory of its own, and refuses a size that cannot be meant.
	Read() ([]byte, error)
}

// FeedFile is a Feed whose networks are in a file, as ReadPrefixes reads it.
type FeedFile struct {
	Tag      string
	Category Category
	File     File
}

// Sources is everything that lookups by address rest on. Location and Operator may be nil.
type Sources struct {
	Ranges   []Range
	Feeds    []FeedFile
	Location File // MMDB
	Operator File // MMDB
}

// State is the sources at one moment. It is immutable.
type State struct {
	Ranges *Table
	Places Databases
}

// Watcher keeps a State up to date with its files. Lookups in progress go on with what they started with.
type Watcher struct {
	sources Sources
	current atomic.Pointer[State]

	// Owned by New, then by Run.
	feeds     []watched[[]netip.Prefix]
	databases [2]watched[*Database] // location, operator
}

// NewWatcher reads the sources. What cannot be read or understood is an error now and only a warning later.
func NewWatcher(s Sources) (*Watcher, error) {
	w := &Watcher{sources: s}
	for _, f := range s.Feeds {
		w.feeds = append(w.feeds, watched[[]netip.Prefix]{file: f.File, parse: func(data []byte) ([]netip.Prefix, error) {
			return ReadPrefixes(bytes.NewReader(data))
		}})
	}
	w.databases = [2]watched[*Database]{{file: s.Location, parse: OpenDatabase}, {file: s.Operator, parse: OpenDatabase}}
	for i := range w.feeds {
		if _, err := w.feeds[i].reload(); err != nil {
			return nil, err
		}
	}
	for i := range w.databases {
		if _, err := w.databases[i].reload(); err != nil {
			return nil, err
		}
	}
	return w, w.rebuild()
}

// State is the newest state. It may be called at any time from any goroutine.
func (w *Watcher) State() State { return *w.current.Load() }

// Run looks every interval for files that were replaced, until ctx ends. A bad replacement is logged once, counted by failed and not
// used: what was read before stays in use.
func (w *Watcher) Run(ctx context.Context, interval time.Duration, log *slog.Logger, failed func()) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			w.refresh(log, failed)
		}
	}
}

func (w *Watcher) refresh(log *slog.Logger, failed func()) {
	replaced := false
	note := func(changed bool, err error) {
		replaced = replaced || changed
		if err != nil {
			failed()
			log.Warn("lookup file not replaced, the previous content stays in use", slog.Any("err", err))
		}
	}
	for i := range w.feeds {
		note(w.feeds[i].reload())
	}
	for i := range w.databases {
		note(w.databases[i].reload())
	}
	if !replaced {
		return
	}
	if err := w.rebuild(); err != nil { // only the ranges can make it fail, and they do not change
		note(false, err)
		return
	}
	log.Info("lookup files replaced", slog.String("places_version", w.State().Places.Version()), slog.String("ranges_version", w.State().Ranges.Version()))
}

func (w *Watcher) rebuild() error {
	var feeds []Feed
	for i, f := range w.sources.Feeds {
		feeds = append(feeds, Feed{Tag: f.Tag, Category: f.Category, Prefixes: w.feeds[i].value})
	}
	table, err := NewTable(w.sources.Ranges, feeds)
	if err != nil {
		return err
	}
	w.current.Store(&State{Ranges: table, Places: Databases{Location: w.databases[0].value, Operator: w.databases[1].value}})
	return nil
}

// watched is a file and what was last understood of it.
type watched[T any] struct {
	file  File // nil = not configured
	parse func([]byte) (T, error)
	stamp string
	value T
}

func (w *watched[T]) reload() (changed bool, err error) {
	if w.file == nil {
		return false, nil
	}
	stamp, err := w.file.Stamp()
	if err != nil {
		return false, fmt.Errorf("lookup file %s: %w", w.file.Name(), err)
	}
	if stamp == w.stamp {
		return false, nil
	}
	data, err := w.file.Read()
	if err != nil {
		return false, fmt.Errorf("lookup file %s: %w", w.file.Name(), err)
	}
	w.stamp = stamp // of a bad file too, so that it is one warning; the next replacement is looked at again
	value, err := w.parse(data)
	if err != nil {
		return false, fmt.Errorf("lookup file %s: %w", w.file.Name(), err)
	}
	w.value = value
	return true, nil
}
