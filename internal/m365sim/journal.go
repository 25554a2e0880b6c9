package m365sim

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"millrace/internal/m365sim/tenant"
)

// The journal is an append-only file of JSON lines with everything that must survive a restart but the counts. A line that a crash cut
// short is dropped when the file is opened again. Lines about the ledger are buffered for a moment; all others are written at once.

const (
	eventClock   = "clock"   // simulated time began to run at a speed
	eventOrigin  = "origin"  // a tenant's clock origin
	eventStart   = "start"   // a subscription was started or changed
	eventStop    = "stop"    // a subscription was stopped
	eventListed  = "listed"  // a blob was shown in a listing for the first time
	eventServed  = "served"  // a blob was served in full
	eventWebhook = "webhook" // the state of a webhook changed

	// What only a compacted journal has.
	eventSubscription = "subscription" // the whole of a subscription
	eventPast         = "past"         // what became of the blobs of a content type that have expired
)

type event struct {
	Kind        string    `json:"kind"`
	At          time.Time `json:"at"`
	Tenant      string    `json:"tenant"`
	App         string    `json:"app,omitempty"`
	ContentType string    `json:"contentType,omitempty"`
	ContentID   string    `json:"contentId,omitempty"`
	From        time.Time `json:"from,omitzero"`       // first creation time that a subscription sees; of a blob, the first of several downloads
	Downloads   int       `json:"downloads,omitempty"` // zero is one
	Records     int       `json:"records,omitempty"`
	Bytes       int       `json:"bytes,omitempty"`
	Webhook     *webhook  `json:"webhook,omitempty"`
	// Setup is the configuration of the tenant whose origin it is: what its bytes follow from.
	Setup *tenant.Config `json:"setup,omitempty"`
	Clock *anchor        `json:"clock,omitempty"`

	Subscription *subscriptionState `json:"subscription,omitempty"`
	Served       *Served            `json:"served,omitempty"`
}

type journal struct {
	path  string
	mu    sync.Mutex // guards what follows
	f     *os.File
	w     *bufio.Writer
	timer *time.Timer
	err   error // of a write behind the scenes; reported by the next write or close
}

const journalName = "journal.ndjson"

const flushAfter = 200 * time.Millisecond

func openJournal(dir string) (*journal, []event, error) {
	path := filepath.Join(dir, journalName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("m365sim: open journal: %w", err)
	}
	events, good, err := readEvents(f)
	if err == nil {
		err = f.Truncate(good)
	}
	if err == nil {
		_, err = f.Seek(good, io.SeekStart)
	}
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("m365sim: read journal %s: %w", path, err), f.Close())
	}
	return &journal{path: path, f: f, w: bufio.NewWriterSize(f, 64<<10)}, events, nil
}

// readEvents returns the events and the length of the file up to the last whole one.
func readEvents(r io.Reader) (events []event, good int64, err error) {
	br := bufio.NewReaderSize(r, 64<<10)
	for line := 1; ; line++ {
		text, err := br.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return events, good, nil // what is left has no end: a crash cut it
		}
		if err != nil {
			return nil, 0, err
		}
		var e event
		if err := json.Unmarshal(bytes.TrimSpace(text), &e); err != nil {
			return nil, 0, fmt.Errorf("line %d: %w; move the file away to start afresh", line, err)
		}
		events, good = append(events, e), good+int64(len(text))
	}
}

// write appends an event and hands it to the operating system.
func (j *journal) write(e event) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.put(e)
	j.flush()
	return j.err
}

// later appends an event that may be lost if the process dies within a moment.
func (j *journal) later(e event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.put(e)
	if j.timer == nil && j.f != nil {
		j.timer = time.AfterFunc(flushAfter, func() {
			j.mu.Lock()
			defer j.mu.Unlock()
			j.timer = nil
			j.flush()
		})
	}
}

// replace puts another text in the place of the journal.
func (j *journal) replace(text []byte) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.flush(); j.err != nil {
		return j.err
	}
	if err := replaceFile(j.path, text); err != nil {
		return err
	}
	f, err := os.OpenFile(j.path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	err = j.f.Close() // of the file that has no name any more
	j.f = f
	j.w.Reset(f)
	return err
}

func (j *journal) put(e event) {
	if j.f == nil {
		return
	}
	text, err := json.Marshal(e)
	if err == nil {
		_, err = j.w.Write(append(text, '\n'))
	}
	j.err = errors.Join(j.err, err)
}

func (j *journal) flush() {
	if j.f != nil {
		j.err = errors.Join(j.err, j.w.Flush())
	}
}

func (j *journal) close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.f == nil {
		return nil
	}
	if j.timer != nil {
		j.timer.Stop()
	}
	j.flush()
	err := errors.Join(j.err, j.f.Close())
	j.f = nil
	if err != nil {
		return fmt.Errorf("m365sim: journal: %w", err)
	}
	return nil
}
