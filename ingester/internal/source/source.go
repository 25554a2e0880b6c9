// Package source runs the streams of the tenants of one number: it lists and fetches what Microsoft serves and offers it to kafkatx
// in transactions.
//
// An owner is the kafkatx.Feeder of a number. Its goroutines list windows and fetch blobs on their own; what is finished waits as a
// unit in the owner's queue. Next groups units into one transaction: raw records, then, once their offsets are known, the ledger, and
// the checkpoints in the number's partition of the state topic. A unit leaves memory only when its transaction is known to be committed;
// after an abort it is offered again. What was not committed is listed again by whoever owns the number next.
package source

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
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
}

// Config is what the streams of all numbers share.
type Config struct {
	Names      wire.Names
	Partitions int // of the raw topics
	Control    int // of the checkpoint, directory and ledger topics
	Tenants    []Tenant

	Plan           plan.Config
	CommitBytes    int           // a busy number commits when so much is ready; 0 = 8 MiB
	CommitWait     time.Duration // or after so long; 0 = 200 ms
	RetryWait      time.Duration // first wait after a failure, then doubling; ten times as long when throttled; 0 = 3 s
	RefusedWait    time.Duration // wait after a refusal that an operator has to mend; 0 = 15 min
	DirectoryEvery time.Duration // between two reads of a directory's changes; 0 = 5 min
	Memory         int64         // bytes of blobs held in memory by all numbers; 0 = 64 MiB
	SpoolDir       string        // where large blobs wait; "" = the system's folder for temporary files

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
	if c.CommitBytes <= 0 {
		c.CommitBytes = 8 << 20
	}
	if c.Memory <= 0 {
		c.Memory = 64 << 20
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
	memory  *semaphore.Weighted // bytes of blobs that are being fetched or wait to be committed
	large   *semaphore.Weighted // one blob that was spooled to a file may be in memory at a time
	chunks  chunks
	board   *board
}

// New checks the configuration.
func New(cfg Config) (*Sources, error) {
	cfg = cfg.withDefaults()
	if cfg.Partitions < 1 || cfg.Control < 1 {
		return nil, errors.New("partition counts must be positive")
	}
	seen := make(map[audit.TenantID]bool)
	for _, t := range cfg.Tenants {
		if seen[t.ID] {
			return nil, fmt.Errorf("tenant %s is listed twice: one connector a tenant", t.ID)
		}
		seen[t.ID] = true
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
		cfg: cfg, metrics: m, shared: shared, board: newBoard(),
		memory: semaphore.NewWeighted(cfg.Memory), large: semaphore.NewWeighted(1),
	}, nil
}

// Number is the number that owns a tenant.
func (s *Sources) Number(t audit.TenantID) int32 { return kafkatx.Partition([]byte(t), s.cfg.Control) }

// Handler makes the owner of a number, for kafkatx.StageConfig.
func (s *Sources) Handler(number int32) (kafkatx.Handler, error) { return newOwner(s, number), nil }
