// Package broker is an embedded Kafka broker for trying Millrace out and for tests: one process, one folder, the loopback interface only.
//
// It is franz-go's kfake behind a data folder with a lock, retention by time and a stable port. Data, committed offsets and transactions survive a restart and
// a killed process: each transaction is there whole or not at all. kfake on its own does not give that, so each commit is written down before kfake begins with
// it (journal.go), and each start ends what the process before left unfinished (recover.go).
//
// What it does not give is safety from a power failure: there is one copy, and nothing is forced to the disk.
package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

// Reasons why a broker does not start. The error that Open returns names folder or port and says what to do.
var (
	ErrLocked      = errors.New("data folder is in use")
	ErrNotWritable = errors.New("data folder is not writable")
	ErrPortTaken   = errors.New("port is taken")
	ErrUnreadable  = errors.New("data folder cannot be read back")
)

const (
	// maxMessageBytes is the largest record batch of a topic that sets no limit of its own: the 16 MiB of the largest topics and some room
	// for the batch around a record.
	maxMessageBytes = 17 << 20
	// retentionInterval is how often records that outlived retention.ms are dropped.
	retentionInterval = time.Minute
	// never is further away than any process lives, and still fits kfake's arithmetic.
	never = 30 * 365 * 24 * time.Hour
	// offsetsRetention is how long committed offsets of a group without members are kept: longer than any topic keeps records, so that a
	// pipeline that was off for weeks continues where it was.
	offsetsRetention = 45 * 24 * time.Hour
)

// Config says where a broker keeps its data and where it listens.
type Config struct {
	// Dir is the data folder; it is made if need be and belongs to this broker alone. "" means a temporary folder that Close removes.
	Dir string
	// Port on 127.0.0.1. 0 means the port of the last time in the same folder if it is free, else any free one.
	Port int
	// Logger hears what the broker has to complain about; nil = nobody.
	Logger *slog.Logger
}

// Broker is a running broker. Its methods may be called from any goroutine.
type Broker struct {
	addr    string
	dir     string
	log     *slog.Logger
	cluster *kfake.Cluster
	cleanup []func() error // what Close undoes, last entry first

	stopRetention chan struct{}
	retentionDone chan struct{}

	closing  sync.Once
	closeErr error // written once, inside closing
}

// Open starts a broker. It serves when Open returns; errors say what to do and wrap one of the reasons of this package.
func Open(cfg Config) (*Broker, error) { return open(cfg, retentionInterval) }

func open(cfg Config, interval time.Duration) (b *Broker, err error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	b = &Broker{dir: cfg.Dir, log: cfg.Logger, stopRetention: make(chan struct{}), retentionDone: make(chan struct{})}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.unwind())
			b = nil
		}
	}()
	if err := b.takeFolder(); err != nil {
		return b, err
	}
	commits, err := b.recover()
	if err != nil {
		return b, fmt.Errorf("%w: %s: %w: move the folder away or choose another one", ErrUnreadable, b.dir, err)
	}
	ln, err := listen(cfg.Port, b.portFile())
	if err != nil {
		return b, err
	}
	b.addr = ln.Addr().String()
	b.cluster, err = kfake.NewCluster(
		kfake.NumBrokers(1),
		kfake.ClusterID("millrace-embedded"),
		kfake.DataDir(b.logDir()),
		kfake.ListenFn(func(string, string) (net.Listener, error) { return ln, nil }),
		kfake.WithLogger(logger{cfg.Logger}),
		kfake.BrokerConfigs(brokerConfigs()),
	)
	if err != nil {
		_ = ln.Close() // closed already where kfake got far enough to own it
		return b, fmt.Errorf("%w: %s: %w: move the folder away or choose another one", ErrUnreadable, b.dir, err)
	}
	commits.watch(b.cluster)
	boundFetches(b.cluster)
	if err := os.WriteFile(b.portFile(), []byte(strconv.Itoa(ln.Addr().(*net.TCPAddr).Port)+"\n"), 0o644); err != nil {
		cfg.Logger.Warn("port not remembered", "err", err)
	}
	go b.keepRetention(interval)
	b.cleanup = append(b.cleanup, b.stopCluster)
	return b, nil
}

// brokerConfigs returns the settings that differ from kfake's own. Nothing is deleted by size, because that would take input that a stage has not read yet, nor by
// kfake's clock (see keepRetention). Compaction is off: kfake takes records of open transactions into account that may still be aborted, and removes the
// old files of a partition before it has written the new ones, so that a kill in between would lose the state that lives on compacted topics.
// Topics are never created by asking for them: kfake's default.
func brokerConfigs() map[string]string {
	return map[string]string{
		"message.max.bytes":              strconv.Itoa(maxMessageBytes),
		"log.retention.ms":               "-1",
		"log.cleaner.backoff.ms":         strconv.FormatInt(never.Milliseconds(), 10),
		"offsets.retention.minutes":      strconv.Itoa(int(offsetsRetention / time.Minute)),
		"transactional.id.expiration.ms": strconv.Itoa(math.MaxInt32), // 24.8 days: the setting is a 32-bit integer in Kafka too
	}
}

// Addr returns the address on the loopback interface that clients connect to, as host:port.
func (b *Broker) Addr() string { return b.addr }

// Close stops the broker, writes what it has to its folder and releases the folder. It may be called twice; clients should be closed before.
func (b *Broker) Close() error {
	b.closing.Do(func() { b.closeErr = b.unwind() })
	return b.closeErr
}

// unwind undoes what Open did, last step first.
func (b *Broker) unwind() error {
	var errs []error
	for _, undo := range slices.Backward(b.cleanup) {
		errs = append(errs, undo())
	}
	b.cleanup = nil
	return errors.Join(errs...)
}

// takeFolder makes the data folder and locks it against every other instance.
func (b *Broker) takeFolder() error {
	if b.dir == "" {
		tmp, err := os.MkdirTemp("", "millrace-broker-")
		if err != nil {
			return fmt.Errorf("%w: %w: choose a temporary folder that you may write to with TMPDIR", ErrNotWritable, err)
		}
		b.dir = tmp
		b.cleanup = append(b.cleanup, func() error { return os.RemoveAll(tmp) })
	}
	if err := os.MkdirAll(b.dir, 0o700); err != nil {
		return fmt.Errorf("%w: %w: choose a folder that you may write to", ErrNotWritable, err)
	}
	unlock, err := lockFolder(filepath.Join(b.dir, "lock"))
	if err != nil {
		return err
	}
	b.cleanup = append(b.cleanup, unlock)
	return nil
}

// stopCluster ends the retention loop first, because the cluster answers nobody once it is closed.
func (b *Broker) stopCluster() error {
	close(b.stopRetention)
	<-b.retentionDone
	b.cluster.Close()
	return nil
}

// recover ends what was unfinished when the folder's last broker ended, and opens the journal of this one.
func (b *Broker) recover() (*journal, error) {
	path := filepath.Join(b.dir, "commit")
	decided, err := readJournal(path)
	if err != nil {
		return nil, err
	}
	done, err := recoverFolder(b.logDir(), decided, time.Now())
	if err != nil {
		return nil, err
	}
	if done.committed+done.aborted > 0 {
		b.log.Info("embedded broker ended transactions that were open when it was killed", "committed_partitions", done.committed, "aborted_partitions", done.aborted)
	}
	j, err := openJournal(path)
	if err != nil {
		return nil, err
	}
	b.cleanup = append(b.cleanup, j.file.Close)
	return j, nil
}

func (b *Broker) logDir() string   { return filepath.Join(b.dir, "log") }
func (b *Broker) portFile() string { return filepath.Join(b.dir, "port") }

// listen opens the port on the loopback interface: the one asked for, or the remembered one, or any.
func listen(port int, remembered string) (net.Listener, error) {
	if port != 0 {
		ln, err := listenOn(port)
		if err != nil {
			return nil, fmt.Errorf("%w: %w: stop what listens there or choose another port", ErrPortTaken, err)
		}
		return ln, nil
	}
	if last := readPort(remembered); last != 0 {
		if ln, err := listenOn(last); err == nil {
			return ln, nil
		}
	}
	ln, err := listenOn(0)
	if err != nil {
		return nil, fmt.Errorf("%w: %w: no port on 127.0.0.1 is free", ErrPortTaken, err)
	}
	return ln, nil
}

func listenOn(port int) (net.Listener, error) {
	var lc net.ListenConfig
	return lc.Listen(context.Background(), "tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
}

// readPort returns the port that a file remembers, 0 if it remembers none.
func readPort(path string) int {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	port, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || port < 1 || port > 65535 {
		return 0
	}
	return port
}

// logger passes kfake's complaints on. Its lines about single requests are not: they are many, and they quote names that we never log.
type logger struct{ log *slog.Logger }

// Logf implements kfake.Logger.
func (l logger) Logf(level kfake.LogLevel, format string, args ...any) {
	if level == kfake.LogLevelError {
		l.log.Error("embedded broker", "err", fmt.Sprintf(format, args...))
	}
}
