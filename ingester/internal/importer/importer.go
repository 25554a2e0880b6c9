// Package importer carries exported audit records from files to the import topic, each unit of rows exactly once.
//
// A unit is 1,000 rows or 8 MiB of a file, whichever comes first, or what is left at its end. Its content id is the running SHA-256 of
// the decompressed content up to its end, which is checkpointed in the transaction of its records. So a file that is imported
// again adds nothing, and one that grew or was repaired goes on where it was good: at each row the importer looks whether an earlier run has
// ended a unit just there.
//
// It runs as a stage of its own, with its own group, transactional ids and checkpoint streams. A running ingester does not notice it; two
// imports at a time share the numbers, so that files of one tenant are imported by one process after the other.
package importer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"millrace/ingester/internal/checkpoint"
	"millrace/pkg/audit"
	"millrace/pkg/kafkatx"
	"millrace/pkg/wire"
)

const (
	unitRows  = 1000
	unitBytes = 8 << 20
)

// Config is what an import needs to know.
type Config struct {
	Names      wire.Names
	Partitions int // of the raw topics
	Control    int // of the checkpoint and ledger topics
	Files      []string
	Tenant     audit.TenantID // "" = the OrganizationId of each file's first record
	Fallback   audit.TenantID // for a file in which no record has one; "" = such a file is refused
	Progress   func(Progress) // called after each unit, on the import's goroutine; nil = not wanted
	Log        *slog.Logger
	Registerer prometheus.Registerer
	Now        func() time.Time // nil = time.Now
}

// Progress is how far an import is.
type Progress struct {
	File       string // the file that is read
	Files      int    // how many there are
	Done       int    // files that are finished
	Read, Size int64  // bytes on disk of this file
	Rows       int    // of all files, read so far
	Records    int    // committed as raw records by this run
	Known      int    // rows that an earlier run has committed
	Bad        int    // rows that became dead letters
}

// Import is one run over a list of files.
type Import struct {
	cfg     Config
	metrics *wire.Metrics
	tasks   []task

	mu       sync.Mutex // guards all below
	current  int        // of tasks
	progress Progress
	errs     []error
	done     chan struct{} // closed when every file is finished
	moved    chan struct{} // closed and replaced when current changes
}

// task is one file and the tenant it belongs to.
type task struct {
	path   string
	tenant audit.TenantID
	number int32
	stream string
}

// New opens each file to see that it can be read and whose it is. Files that cannot are reported together.
func New(cfg Config) (*Import, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if len(cfg.Files) == 0 {
		return nil, errors.New("no files to import")
	}
	m, err := wire.NewMetrics(wire.StageImport, cfg.Registerer)
	if err != nil {
		return nil, err
	}
	im := &Import{cfg: cfg, metrics: m, done: make(chan struct{}), moved: make(chan struct{})}
	for _, path := range cfg.Files {
		t, err := im.look(path)
		if err != nil {
			im.errs = append(im.errs, err)
			continue
		}
		im.tasks = append(im.tasks, t)
	}
	im.progress.Files = len(im.tasks)
	if len(im.tasks) == 0 {
		close(im.done)
	}
	return im, nil
}

// look opens a file for its tenant.
func (im *Import) look(path string) (task, error) {
	f, err := openFile(path)
	if err != nil {
		return task{}, err
	}
	defer f.close()
	t := task{path: path, tenant: im.cfg.Tenant}
	for t.tenant == "" {
		r, err := f.rows.next()
		if errors.Is(err, io.EOF) && im.cfg.Fallback != "" {
			t.tenant = im.cfg.Fallback
			break
		}
		if errors.Is(err, io.EOF) {
			return t, &PlaceError{File: path, Cause: errors.New("no record in it says which tenant it is of: give -tenant")}
		}
		if err != nil {
			return t, &PlaceError{File: path, Cause: err}
		}
		f.tee.advance(r.end)
		env, err := audit.ParseEnvelope(r.record)
		if err != nil {
			continue
		}
		if id, err := audit.ParseTenantID(env.OrganizationID); err == nil {
			t.tenant = id
		}
	}
	t.number = kafkatx.Partition([]byte(t.tenant), im.cfg.Control)
	t.stream = string(t.tenant) + "/" + string(audit.SourceImport)
	return t, nil
}

// Done is closed when every file is finished, well or with an error.
func (im *Import) Done() <-chan struct{} { return im.done }

// Err joins the errors of the files that could not be read to their end. What was read of them before is on the topics.
func (im *Import) Err() error {
	im.mu.Lock()
	defer im.mu.Unlock()
	return errors.Join(im.errs...)
}

// Progress is how far the import is.
func (im *Import) Progress() Progress {
	im.mu.Lock()
	defer im.mu.Unlock()
	return im.progress
}

// Handler makes the feeder of a number, for kafkatx.StageConfig.
func (im *Import) Handler(number int32) (kafkatx.Handler, error) {
	return &feeder{im: im, number: number, book: checkpoint.NewBook(im.cfg.Control)}, nil
}

// feeder is the kafkatx.Feeder of one number: it imports the files whose tenant the number owns, in their order. All its methods and
// those of its changes run on one goroutine.
type feeder struct {
	im     *Import
	number int32
	book   *checkpoint.Book
	file   *file // open
	unit   *unit // read and not committed
	rows   int   // of file
}

// Load implements kafkatx.Handler.
func (f *feeder) Load(r kafkatx.Record) error { return f.book.Load(r.Key, r.Value) }

// Close implements kafkatx.Handler.
func (f *feeder) Close() {
	if f.file != nil {
		f.file.close()
	}
}

// Next implements kafkatx.Feeder.
func (f *feeder) Next(ctx context.Context) (kafkatx.Result, error) {
	for {
		t, err := f.turn(ctx)
		if err != nil {
			return kafkatx.Result{}, err
		}
		if f.unit == nil {
			if f.unit, err = f.read(ctx, t); err != nil {
				return kafkatx.Result{}, err
			}
		}
		if f.unit != nil {
			return f.result(t)
		}
	}
}

// turn waits until the file whose turn it is belongs to this number.
func (f *feeder) turn(ctx context.Context) (task, error) {
	im := f.im
	for {
		im.mu.Lock()
		moved := im.moved
		if im.current < len(im.tasks) && im.tasks[im.current].number == f.number {
			t := im.tasks[im.current]
			im.mu.Unlock()
			return t, nil
		}
		im.mu.Unlock()
		select {
		case <-ctx.Done():
			return task{}, ctx.Err()
		case <-moved:
		}
	}
}

// finish goes on to the next file.
func (f *feeder) finish(path string, err error) {
	if f.file != nil {
		f.file.close()
		f.file = nil
	}
	im := f.im
	im.mu.Lock()
	defer im.mu.Unlock()
	if err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = errors.New("the compressed file is cut short: get it again, then import it again")
		}
		im.errs = append(im.errs, &PlaceError{File: path, Row: f.rows, Cause: err})
	}
	f.rows = 0
	im.current++
	im.progress.Done = im.current
	close(im.moved)
	im.moved = make(chan struct{})
	if im.current == len(im.tasks) {
		close(im.done)
	}
}

// unit is a run of rows of a file that is committed as a whole.
type unit struct {
	rows      []row // with records of their own memory
	size      int
	contentID string
	last      bool  // nothing follows in the file
	err       error // what is wrong with the file behind the unit
}

// read reads the next unit that no earlier run has committed. It returns nil when the file is finished.
func (f *feeder) read(ctx context.Context, t task) (*unit, error) {
	if f.file == nil {
		var err error
		if f.file, err = openFile(t.path); err != nil {
			f.finish(t.path, err)
			return nil, nil //nolint:nilnil // the file is finished, and its error is noted
		}
	}
	known := f.book.Blobs(t.stream) > 0
	u := &unit{}
	for len(u.rows) < unitRows && u.size < unitBytes {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		r, err := f.file.rows.next()
		if err != nil {
			u.last = true
			if !errors.Is(err, io.EOF) {
				u.err = err
			}
			break
		}
		f.rows = r.number
		f.file.tee.advance(r.end)
		r.record = slices.Clone(r.record)
		u.rows = append(u.rows, r)
		u.size += len(r.record)
		if known && f.book.Done(t.stream, checkpoint.HashOf(f.file.contentID())) {
			f.note(0, len(u.rows), 0) // an earlier run ended a unit just here
			*u = unit{}
		}
	}
	u.contentID = f.file.contentID()
	if len(u.rows) == 0 {
		if u.last {
			f.finish(t.path, u.err)
			return nil, nil //nolint:nilnil // the file is finished
		}
		return nil, nil //nolint:nilnil // all of it was known: read on
	}
	return u, nil
}

// note counts rows and tells whoever wants to know.
func (f *feeder) note(records, known, bad int) {
	im := f.im
	im.mu.Lock()
	p := &im.progress
	p.Rows += records + known + bad
	p.Records += records
	p.Known += known
	p.Bad += bad
	if f.file != nil {
		p.File, p.Read, p.Size = f.file.path, f.file.at.Load(), f.file.total
	}
	now := *p
	im.mu.Unlock()
	if im.cfg.Progress != nil {
		im.cfg.Progress(now)
	}
}

// result makes the transaction of the unit.
func (f *feeder) result(t task) (kafkatx.Result, error) {
	u, now := f.unit, f.im.cfg.Now().UTC().Truncate(time.Millisecond)
	var res kafkatx.Result
	bad := 0
	prov := audit.Provenance{
		Tenant: t.tenant, Source: audit.SourceImport, ContentType: string(audit.SourceImport), ContentID: u.contentID, Created: now, Fetched: now,
	}
	for i := range u.rows {
		prov.Index = i
		recs, refused := f.im.outputs(f.file.name, u.rows[i], prov)
		res.Outputs = append(res.Outputs, recs...)
		bad += refused
	}
	ck := f.book.Begin()
	ck.Done(t.stream, checkpoint.HashOf(u.contentID), now)
	records, err := ck.Records()
	if err != nil {
		return res, err
	}
	for _, r := range records {
		res.State = append(res.State, kafkatx.Record{Key: r.Key, Value: r.Value})
	}
	entry := wire.LedgerEntry{
		Kind: wire.LedgerKindBlob, Tenant: string(t.tenant), Source: string(audit.SourceImport), ContentType: string(audit.SourceImport),
		Blob: &wire.LedgerBlob{
			ContentID: u.contentID, Created: now, Listed: now, Fetched: now, Bytes: int64(u.size), SHA256: u.contentID,
			Records: len(u.rows), DeadLetters: bad,
		},
	}
	outputs := res.Outputs
	res.Follow = func(offsets []int64) []kafkatx.Record {
		entry.Offsets = wire.Ranges(outputs, offsets)
		value, err := json.Marshal(entry)
		if err != nil {
			return nil // a struct of strings, numbers and times always encodes
		}
		return []kafkatx.Record{{Topic: f.im.cfg.Names.Ledger(), Partition: f.number, Key: []byte(t.stream), Value: value}}
	}
	res.Change = &change{f: f, ck: ck, path: t.path, bad: bad}
	return res, nil
}

// outputs are the records of one row.
func (im *Import) outputs(name string, r row, prov audit.Provenance) (recs []kafkatx.Record, refused int) {
	env, err := audit.ParseEnvelope(r.record)
	prov.Domain = wire.DomainOf(env.RecordType)
	if err != nil && looksLikeDLP(r.record) {
		prov.Domain = audit.DomainDLP
	}
	rec := audit.Record{Raw: r.record, Provenance: prov}
	raw := wire.RawRecord(im.cfg.Names, im.cfg.Partitions, rec, env)
	reason, detail := wire.Reason(""), fmt.Sprintf("%s row %d", name, r.number)
	switch {
	case r.bad != "":
		reason, detail = wire.ReasonBadRow, detail+": "+r.bad
	case err != nil:
		reason, detail = wire.ReasonBadRow, detail+": "+err.Error()
	case len(r.record) > wire.MaxRaw:
		reason = wire.ReasonTooLarge
	default:
		return []kafkatx.Record{raw}, 0
	}
	raw.Offset = -1
	return wire.DeadLetter(im.cfg.Names, raw, wire.StageImport, reason, detail), 1
}

// looksLikeDLP errs on the side of the closed topic for a row that cannot be read: matched content has no place on the open one.
func looksLikeDLP(raw []byte) bool {
	return bytes.Contains(raw, []byte("PolicyDetails")) || bytes.Contains(raw, []byte("SensitiveInfo"))
}

// change is the checkpoint of one unit.
type change struct {
	f    *feeder
	ck   *checkpoint.Change
	path string
	bad  int
}

// Merge implements kafkatx.Change.
func (c *change) Merge() {
	c.ck.Merge()
	u := c.f.unit
	c.f.unit = nil
	c.f.note(len(u.rows)-c.bad, 0, c.bad)
	if c.bad > 0 {
		c.f.im.metrics.Refused(wire.ReasonBadRow, c.bad)
	}
	if u.last {
		c.f.finish(c.path, u.err)
	}
}

// Discard implements kafkatx.Change: the unit is offered again.
func (c *change) Discard() { c.ck.Discard() }
