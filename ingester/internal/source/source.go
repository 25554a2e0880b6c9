// Package source runs the streams of the tenants of one number: it lists and fetches what Microsoft serves and offers it to kafkatx
// in transactions.
//
// An owner is the kafkatx.Feeder of a number. Its goroutines list windows and fetch blobs on their own; what is finished waits as a
// unit in the owner's queue. Next groups units into one transaction: raw records, then, once their offsets are known, the ledger, and
// the checkpoints in the number's partition of the state topic. A unit leaves memory only when its transaction is known to be committed;
// after an abort it is offered again. What was not committed is listed again by whoever owns the number next.
package source

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"

	"millrace/ingester/internal/plan"
	"millrace/pkg/audit"
	"millrace/pkg/kafkatx"
	"millrace/pkg/m365"
	"millrace/pkg/wire"
)

// Tenant is one directory that is read.
type Tenant struct {
	ID           audit.TenantID
	Feed         *m365.Client
	ContentTypes []audit.ContentType
	Graph        *m365.Graph // nil = the directory is not read
	Fetches      int         // blobs fetched at a time; 0 = 16
	// Allowed says, before anything is asked of the service, why a content type cannot be read; nil = no such check.
	Allowed func(context.Context, audit.ContentType) error
	Paused  bool // nothing of it is read; its subscriptions stay on
}

// Config is what the streams of all numbers share.
type Config struct {
	Names      wire.Names
	Partitions int       // of the raw topics
	Control    int       // of the checkpoint, directory and ledger topics
	Tenants    []*Tenant // not to be changed; SetTenants replaces the list

	Plan           plan.Config
	CommitBytes    int           // a busy number commits when so much is ready; 0 = 8 MiB
	CommitWait     time.Duration // or after so long; 0 = 200 ms
	RetryWait      time.Duration // first wait after a failure, then doubling; ten times as long when throttled; 0 = 3 s
	RefusedWait    time.Duration // wait after a refusal that an operator has to mend; 0 = 15 min
	DirectoryEvery time.Duration // between two reads of a directory's changes; 0 = 5 min
	Memory         int64         // bytes of blobs held in memory by all numbers; 0 = 32 MiB
	// Directory calls fn for each key on the directory topic's partition of a number, in order, and says whether its value is null. It is what a
	// full read of a directory needs to find what has gone; nil = such objects stay.
	Directory func(ctx context.Context, number int32, fn func(key string, gone bool)) error
	// Hook gives the webhook that subscriptions are to have; nil, or one that returns nil, = none.
	Hook      func() *m365.Webhook
	ListGrace time.Duration // how long replicas may have different lists of tenants, as while a change is rolled out; 0 = 1 min
	SpoolDir  string        // where large blobs wait; "" = the system's folder for temporary files

	Log        *slog.Logger
	Registerer prometheus.Registerer
	Now        func() time.Time // nil = time.Now
}

func (c Config) withDefaults() Config {
	set := func(d *time.Duration, to time.Duration) {
		if *d <= 0 {
			*d = to
		}
	}
	set(&c.CommitWait, 200*time.Millisecond)
	set(&c.RetryWait, 3*time.Second)
	set(&c.RefusedWait, 15*time.Minute)
	set(&c.DirectoryEvery, 5*time.Minute)
	set(&c.ListGrace, time.Minute)
	if c.CommitBytes <= 0 {
		c.CommitBytes = 8 << 20
	}
	if c.Memory <= 0 {
		c.Memory = 32 << 20
	}
	c.Memory = max(c.Memory, 2*spoolMemory)
	if c.SpoolDir == "" {
		c.SpoolDir = os.TempDir()
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// Sources makes the owners of a process.
type Sources struct {
	cfg     Config
	metrics *metrics
	shared  *wire.Metrics
	memory  *budget             // bytes of blobs that are being fetched or wait to be committed
	large   *semaphore.Weighted // one blob that was spooled to a file may be in memory at a time
	chunks  chunks
	board   *board
	watch   watch

	mu         sync.Mutex // guards all below
	tenants    []*Tenant
	generation int // of tenants
	owners     map[int32]*owner
}

// New checks the configuration.
func New(cfg Config) (*Sources, error) {
	cfg = cfg.withDefaults()
	if cfg.Partitions < 1 || cfg.Control < 1 {
		return nil, errors.New("partition counts must be positive")
	}
	if err := oneEach(cfg.Tenants); err != nil {
		return nil, err
	}
	m, err := newMetrics(cfg.Registerer)
	if err != nil {
		return nil, err
	}
	shared, err := wire.NewMetrics(wire.StageIngester, cfg.Registerer)
	if err != nil {
		return nil, err
	}
	return &Sources{
		cfg: cfg, metrics: m, shared: shared, board: newBoard(), watch: newWatch(),
		memory: newBudget(cfg.Memory), large: semaphore.NewWeighted(1),
		tenants: cfg.Tenants, generation: 1, owners: make(map[int32]*owner),
	}, nil
}

func oneEach(tenants []*Tenant) error {
	seen := make(map[audit.TenantID]bool)
	for _, t := range tenants {
		if seen[t.ID] {
			return fmt.Errorf("tenant %s is listed twice: one connector a tenant", t.ID)
		}
		seen[t.ID] = true
	}
	return nil
}

// Number is the number that owns a tenant.
func (s *Sources) Number(t audit.TenantID) int32 { return kafkatx.Partition([]byte(t), s.cfg.Control) }

// Handler makes the owner of a number, for kafkatx.StageConfig.
func (s *Sources) Handler(number int32) (kafkatx.Handler, error) { return newOwner(s, number), nil }

// SetTenants replaces the list of tenants while it runs. A tenant whose pointer is in the old and in the new list goes on undisturbed; any other
// is ended, or started, by the owner of its number between two transactions.
func (s *Sources) SetTenants(tenants []*Tenant) error {
	if err := oneEach(tenants); err != nil {
		return err
	}
	s.mu.Lock()
	s.tenants = tenants
	s.generation++
	s.mu.Unlock()
	s.signalAll()
	return nil
}

// list is the present list of tenants.
func (s *Sources) list() ([]*Tenant, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tenants, s.generation
}

// running lists the owners of the process in order of their numbers.
func (s *Sources) running() []*owner {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*owner
	for _, n := range slices.Sorted(maps.Keys(s.owners)) {
		out = append(out, s.owners[n])
	}
	return out
}

// signalAll makes all owners look again.
func (s *Sources) signalAll() {
	for _, o := range s.running() {
		o.mu.Lock()
		o.look = time.Time{}
		o.mu.Unlock()
		o.signal()
	}
}
