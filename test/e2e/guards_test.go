//go:build integration

package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/m365sim/tenant"
	"millrace/internal/testkit"
	"millrace/pkg/wire"
)

// deployment is one set of the three binaries, under a prefix of its own.
type deployment struct {
	t       *testing.T
	feed    *feed
	prefix  string
	dir     string
	bin     string
	brokers []string
	admin   *kadm.Client
	running map[string]*testkit.Process
}

// start starts a binary. create says whether it may create topics.
func (d *deployment) start(name string, create bool) *testkit.Process {
	d.t.Helper()
	text, err := os.ReadFile(writeConfigs(d.t, d.dir, d.brokers, d.feed)[name])
	if err != nil {
		d.t.Fatal(err)
	}
	path := filepath.Join(d.dir, d.prefix+"-"+name+".yaml")
	extra := "kafka:\n  prefix: " + d.prefix + "\n"
	if !create {
		extra += "  topics: {create: false}\n"
	}
	write(d.t, path, strings.Replace(string(text), "kafka:\n", extra, 1))
	p := testkit.StartProcess(d.t, exec.Command(filepath.Join(d.bin, name), "-config", path))
	d.running[name] = p
	return p
}

func (d *deployment) startAll() {
	d.t.Helper()
	for _, name := range []string{"ingester", "normalizer", "enricher"} {
		d.start(name, true)
	}
}

// stop ends binaries gracefully. One that has ended by itself is none of its business.
func (d *deployment) stop(names ...string) {
	d.t.Helper()
	for _, name := range names {
		_ = d.running[name].Signal(syscall.SIGTERM) // it may be gone
		d.running[name].ExitCode(d.t, time.Minute)
	}
}

func (d *deployment) stopAll() { d.stop("ingester", "normalizer", "enricher") }

// refuses waits for a binary to end by itself, with a line that has all of these parts.
func (d *deployment) refuses(p *testkit.Process, parts ...string) {
	d.t.Helper()
	if code := p.ExitCode(d.t, 3*time.Minute); code == 0 {
		d.t.Errorf("exit code 0, want another one")
	}
	lines := strings.Split(strings.TrimSpace(p.Output()), "\n")
	last := lines[len(lines)-1]
	d.t.Log(last)
	for _, part := range parts {
		if !strings.Contains(last, part) {
			d.t.Errorf("the last line does not say %q:\n%s", part, p.Output())
		}
	}
}

// carried waits until this many events are enriched.
func (d *deployment) carried(n int) {
	d.t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if count(d.t, d.brokers, d.prefix) >= n {
			return
		}
	}
	d.t.Fatalf("fewer than %d enriched events after 3 minutes", n)
}

func (d *deployment) names() wire.Names { return wire.Names{Prefix: d.prefix} }

// TestGuards breaks what a deployment rests on, one thing after the other, on Apache Kafka and with the real binaries. Each time the binary that is concerned ends
// with one line that names the remedy, and when that has been followed the proof holds.
func TestGuards(t *testing.T) {
	kafka := testkit.StartKafka(t, testkit.KafkaConfig{})
	bin := testkit.Build(t, root, "ingester", "normalizer", "enricher")
	client, err := kgo.NewClient(kgo.SeedBrokers(kafka.Brokers...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	for _, guard := range []struct {
		name  string
		large int // bytes of one record of the tenant
		run   func(d *deployment)
	}{
		{"grown", 0, partitionAdded},
		{"missing", 0, topicMissing},
		{"gone", 0, topicGone},
		{"forgotten", 0, offsetForgotten},
		{"shared", 0, prefixShared},
		{"giant", 20 << 20, recordTooLarge},
	} {
		t.Run(guard.name, func(t *testing.T) {
			d := &deployment{
				t: t, prefix: guard.name, dir: t.TempDir(), bin: bin, brokers: kafka.Brokers, admin: kadm.NewClient(client),
				feed: newFeedOf(t, tenant.Config{Records: 4_000, LargeRecord: guard.large}), running: map[string]*testkit.Process{},
			}
			guard.run(d)
			holds(t, d.feed.prove(t, d.brokers, d.prefix))
			d.stopAll()
		})
	}
}

// partitionAdded: counts are for life, so the remedy is another prefix.
func partitionAdded(d *deployment) {
	d.startAll()
	d.carried(500)
	if _, err := d.admin.CreatePartitions(d.t.Context(), 1, d.names().Raw("exchange")); err != nil {
		d.t.Fatal(err)
	}
	d.refuses(d.running["ingester"], d.names().Raw("exchange"), "5 partitions", "for life", "another prefix")
	d.refuses(d.running["normalizer"], d.names().Raw("exchange"), "5 partitions", "for life", "another prefix")
	d.stop("enricher")
	d.refuses(d.start("normalizer", true), "5 partitions", "for life") // at a start as well
	d.prefix = "regrown"
	d.startAll()
}

// topicMissing: a topic is not there at the start and may not be created.
func topicMissing(d *deployment) {
	d.startAll()
	d.carried(500)
	d.stopAll()
	d.delete(d.names().Raw("posture")) // nothing lies on it
	d.refuses(d.start("ingester", false), "topics are missing", d.names().Raw("posture"), "-topics prints the commands")
	d.startAll()
}

// topicGone: an output topic is deleted while the stage runs, before anything was written to it.
func topicGone(d *deployment) {
	enricher := d.start("enricher", true)
	d.waitFor(d.names().EnrichedAll()...)
	d.delete(d.names().Enriched("entra"))
	d.start("ingester", true)
	d.start("normalizer", true)
	d.refuses(enricher, d.names().Enriched("entra"), "gone", "-topics prints the commands")
	d.start("enricher", true)
}

// offsetForgotten: Kafka forgot where the normalizer was. It remembers what it has published, so it may read again from the beginning.
func offsetForgotten(d *deployment) {
	d.startAll()
	d.carried(500)
	d.stop("normalizer")
	group := d.prefix + ".normalizer"
	if _, err := d.admin.DeleteGroup(d.t.Context(), group); err != nil {
		d.t.Fatal(err)
	}
	d.refuses(d.start("normalizer", true), "no committed offset", "offsets.retention.minutes", "--reset-offsets")
	starts, err := d.admin.ListStartOffsets(d.t.Context(), d.names().RawAll()...)
	if err != nil {
		d.t.Fatal(err)
	}
	if err := d.admin.CommitAllOffsets(d.t.Context(), group, starts.Offsets()); err != nil {
		d.t.Fatal(err)
	}
	d.start("normalizer", true)
}

// prefixShared: somebody outside of the group takes the normalizer's transactional ids again and again.
func prefixShared(d *deployment) {
	d.start("ingester", true)
	d.start("enricher", true)
	ctx, cancel := context.WithCancel(d.t.Context())
	defer cancel()
	other := make(chan struct{})
	go func() {
		defer close(other)
		d.takeOver(ctx, d.prefix+".normalizer.0")
	}()
	d.refuses(d.start("normalizer", true), "another deployment uses the prefix", "shared", "give each its own")
	cancel()
	<-other
	d.start("normalizer", true)
}

// takeOver initializes a transactional id until ctx ends.
func (d *deployment) takeOver(ctx context.Context, id string) {
	for ctx.Err() == nil {
		client, err := kgo.NewClient(kgo.SeedBrokers(d.brokers...), kgo.TransactionalID(id))
		if err != nil {
			d.t.Error(err)
			return
		}
		_, _, _ = client.ProducerID(ctx) // it fails when the context ends
		client.Close()
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// recordTooLarge: a record of 20 MiB ends on the dead-letter topic in parts, and nothing stands still.
func recordTooLarge(d *deployment) { d.startAll() }

func (d *deployment) delete(topic string) {
	d.t.Helper()
	if _, err := d.admin.DeleteTopic(d.t.Context(), topic); err != nil {
		d.t.Fatal(err)
	}
}

// waitFor waits until topics exist.
func (d *deployment) waitFor(topics ...string) {
	d.t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		found, err := d.admin.ListTopics(d.t.Context(), topics...)
		if err == nil && found.Error() == nil && len(found) == len(topics) {
			return
		}
	}
	d.t.Fatal("the topics do not appear")
}
