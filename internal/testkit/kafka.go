package testkit

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"
)

// Versions of Apache Kafka that the tests run on. The first is the one that a zero KafkaConfig means.
const (
	KafkaNewest = "4.4.0"
	KafkaOldest = "3.9.1"
)

// startBound is how long a cluster may take to answer. Three nodes take 5 s on an idle machine.
const startBound = 3 * time.Minute

// KafkaConfig describes a cluster of real Apache Kafka brokers. The zero value is one open broker of the newest version.
type KafkaConfig struct {
	Version    string            // KafkaNewest (default) or KafkaOldest
	Nodes      int               // 1 (default) or 3; each is broker and controller
	Users      map[string]string // name → password; not empty = the client listener asks for SASL PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512
	ACL        bool              // authorizer on: only AdminUser may do anything until ACLs are made; implies SASL
	Properties map[string]string // extra server properties; they win over the ones of this package
	HeapMiB    int               // Java heap of each node; default 1024
	// Advertise is where node 0 sends the clients of Brokers, instead of to itself: a proxy that the test runs.
	Advertise string
	// Dirs are the data folders of the nodes, for a test that needs a certain file system below one. Default: under Dir.
	Dirs []string
}

// Cluster is a set of broker processes. They end with the process that started them, even when it is killed.
type Cluster struct {
	Brokers []string // one address per node, in the order that KillNode counts
	// Open are the addresses of a listener that asks for no user and lets everybody do everything: for the test's own preparations and for its judge,
	// where Brokers ask for a user.
	Open []string

	nodes []*node
}

// StartKafka starts a cluster for the duration of t and waits until it serves groups and transactions. It fails t, with what to
// install, on a machine without Java or Maven: tests that call it carry the integration tag and run by make test-kafka.
func StartKafka(t testing.TB, cfg KafkaConfig) *Cluster {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startBound)
	defer cancel()
	c, err := OpenKafka(ctx, t.TempDir(), cfg)
	if err != nil {
		t.Fatalf("start Apache Kafka: %v", err)
	}
	t.Cleanup(c.Stop)
	return c
}

// OpenKafka starts a cluster below dir, which should be empty, and waits until it serves groups and transactions. The caller stops it.
func OpenKafka(ctx context.Context, dir string, cfg KafkaConfig) (*Cluster, error) {
	if cfg.Version == "" {
		cfg.Version = KafkaNewest
	}
	cfg.Nodes = max(cfg.Nodes, 1)
	if cfg.HeapMiB == 0 {
		cfg.HeapMiB = 1024
	}
	java, err := javaPath(ctx)
	if err != nil {
		return nil, err
	}
	jars, err := kafkaJars(ctx, cfg.Version)
	if err != nil {
		return nil, err
	}
	c := &Cluster{}
	if err := c.open(ctx, dir, cfg, javaCommand{java: java, jars: jars, heapMiB: cfg.HeapMiB}); err != nil {
		c.Stop()
		return nil, err
	}
	return c, nil
}

func (c *Cluster) open(ctx context.Context, dir string, cfg KafkaConfig, java javaCommand) error {
	all, err := freePorts(cfg.Nodes)
	if err != nil {
		return err
	}
	id := make([]byte, 16)
	_, _ = rand.Read(id) // never fails: see crypto/rand
	clusterID := base64.RawURLEncoding.EncodeToString(append([]byte{0x40}, id[1:]...))
	for i := range cfg.Nodes {
		home := filepath.Join(dir, fmt.Sprintf("node-%d", i))
		data := filepath.Join(home, "data")
		if i < len(cfg.Dirs) {
			data = cfg.Dirs[i]
		}
		n := &node{java: java, home: home, properties: filepath.Join(home, "server.properties")}
		c.nodes = append(c.nodes, n)
		c.Brokers = append(c.Brokers, fmt.Sprintf("127.0.0.1:%d", all[i].client))
		c.Open = append(c.Open, fmt.Sprintf("127.0.0.1:%d", all[i].broker))
		if err := os.MkdirAll(home, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(n.properties, []byte(cfg.properties(i, data, all)), 0o600); err != nil {
			return err
		}
		if err := n.java.run(ctx, cfg.formatArgs(clusterID, n.properties)...); err != nil {
			return fmt.Errorf("format node %d: %w", i, err)
		}
	}
	for _, n := range c.nodes {
		if err := n.start(); err != nil {
			return err
		}
	}
	return c.waitReady(ctx, cfg)
}

// waitReady returns once every broker is in the metadata and the coordinators of groups and transactions answer. The last makes the
// brokers create their internal topics, so that no test meets them half made.
func (c *Cluster) waitReady(ctx context.Context, cfg KafkaConfig) error {
	opts := []kgo.Opt{kgo.SeedBrokers(c.Brokers...)}
	if cfg.Advertise != "" {
		opts = []kgo.Opt{kgo.SeedBrokers(c.Open...)}
	} else if cfg.secured() {
		opts = append(opts, kgo.SASL(plain.Auth{User: AdminUser, Pass: AdminPassword}.AsMechanism()))
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		notYet := c.ready(ctx, opts)
		if notYet == nil {
			return nil
		}
		for i, n := range c.nodes {
			if n.ended() {
				return fmt.Errorf("node %d ended while starting:\n%s", i, n.output())
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: not ready: %w\n%s", ctx.Err(), notYet, c.nodes[0].output())
		case <-tick.C:
		}
	}
}

// ready asks once, with a client of its own: one that has seen a part of the cluster would keep that picture for minutes.
func (c *Cluster) ready(ctx context.Context, opts []kgo.Opt) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	client, err := kgo.NewClient(opts...)
	if err != nil {
		return err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	meta, err := admin.BrokerMetadata(ctx)
	if err != nil {
		return err
	}
	if len(meta.Brokers) != len(c.nodes) {
		return fmt.Errorf("%d of %d brokers registered", len(meta.Brokers), len(c.nodes))
	}
	if err := admin.FindGroupCoordinators(ctx, "millrace-testkit").Error(); err != nil {
		return err
	}
	return admin.FindTxnCoordinators(ctx, "millrace-testkit").Error()
}

// KillNode ends node i with SIGKILL and returns when it is gone. Its data stay.
func (c *Cluster) KillNode(i int) { c.nodes[i].kill() }

// StartNode starts node i again on its ports and data. It does not wait until the node serves: clients are meant to find out.
func (c *Cluster) StartNode(i int) error { return c.nodes[i].start() }

// PauseNode stops node i's execution (SIGSTOP): its connections stay open and nobody answers.
func (c *Cluster) PauseNode(i int) error { return c.nodes[i].signal(syscall.SIGSTOP) }

// ResumeNode lets a paused node go on.
func (c *Cluster) ResumeNode(i int) error { return c.nodes[i].signal(syscall.SIGCONT) }

// NodePID returns the process id of node i.
func (c *Cluster) NodePID(i int) int { return c.nodes[i].process().cmd.Process.Pid }

// NodeRunning tells whether node i's process is there. A broker whose data folder is full halts by itself.
func (c *Cluster) NodeRunning(i int) bool { return !c.nodes[i].ended() }

// NodeOutput returns the end of what node i printed since it was last started: warnings and errors.
func (c *Cluster) NodeOutput(i int) string { return c.nodes[i].output() }

// Stop ends all nodes. It may be called twice.
func (c *Cluster) Stop() {
	for _, n := range c.nodes {
		n.kill()
	}
}

// freePorts returns loopback ports that nobody listens on, for a number of nodes. They lie below the range from which systems choose
// the ports of outgoing connections, so that a node that was killed finds its port free when it is started again.
func freePorts(nodes int) ([]ports, error) {
	const lowest, count, attempts = 15000, 15000, 200
	var free []int
	var held []net.Listener
	defer func() {
		for _, ln := range held {
			_ = ln.Close()
		}
	}()
	for range attempts {
		n, err := rand.Int(rand.Reader, big.NewInt(count))
		if err != nil {
			return nil, err
		}
		ln, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", lowest+n.Int64()))
		if err != nil {
			continue
		}
		held = append(held, ln)
		free = append(free, lowest+int(n.Int64()))
		if len(free) == 3*nodes {
			break
		}
	}
	if len(free) < 3*nodes {
		return nil, errors.New("no free loopback ports")
	}
	all := make([]ports, nodes)
	for i := range all {
		all[i] = ports{client: free[3*i], broker: free[3*i+1], controller: free[3*i+2]}
	}
	return all, nil
}
