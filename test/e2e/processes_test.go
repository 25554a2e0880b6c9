//go:build integration

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"millrace/internal/m365sim"
	"millrace/internal/testkit"
)

// root is the project's folder as seen from this one.
const root = "../.."

// TestProcesses runs two replicas of each binary against Apache Kafka, kills one of each on the way, and has the topics compared with
// what the tenant has. The feed fails now and then.
func TestProcesses(t *testing.T) {
	kafka := testkit.StartKafka(t, testkit.KafkaConfig{})
	f := newFeed(t, 60_000,
		m365sim.Fault{Name: m365sim.FaultThrottle429, Rate: 0.03}, m365sim.Fault{Name: m365sim.FaultInternal, Rate: 0.03},
		m365sim.Fault{Name: m365sim.FaultCut, Rate: 0.03, Endpoint: "blob"})
	dir := t.TempDir()
	configs := writeConfigs(t, dir, kafka.Brokers, f)
	bin := testkit.Build(t, root, "ingester", "normalizer", "enricher")
	run := func(name string) *testkit.Process {
		return testkit.StartProcess(t, exec.Command(filepath.Join(bin, name), "-config", configs[name]))
	}
	var killed, kept []*testkit.Process
	for _, name := range []string{"ingester", "normalizer", "enricher"} {
		killed, kept = append(killed, run(name)), append(kept, run(name))
	}
	for i, p := range killed {
		awaitRecords(t, kafka.Brokers, 5_000*(i+1), append(kept, killed[i:]...))
		p.Kill()
	}
	holds(t, f.prove(t, kafka.Brokers, "m365"))
	for _, p := range kept {
		if err := p.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if code := p.ExitCode(t, time.Minute); code != 0 {
			t.Errorf("a graceful stop ended with exit code %d\n%s", code, p.Output())
		}
	}
}

// writeConfigs writes a configuration for each binary.
func writeConfigs(t *testing.T, dir string, brokers []string, f *feed) map[string]string {
	t.Helper()
	secret := filepath.Join(dir, "secret")
	write(t, secret, m365sim.DefaultClientSecret)
	cluster := fmt.Sprintf("admin:\n  listen: 'off'\nkafka:\n  brokers: [%s]\n  partitions: 4\n  control_partitions: 4\n", strings.Join(brokers, ", "))
	url := f.sim.URL()
	tenants := fmt.Sprintf("tenants:\n  - id: %s\n    client_id: %s\n    client_secret: file:%s\n    ca_file: %s\n    requests_per_minute: 1000000\n"+
		"    hosts: {authority: '%s', api: '%s', graph: '%s'}\nlimits:\n  retry_wait: 100ms\n",
		f.tenant.ID(), m365sim.DefaultClientID, secret, f.sim.CAFile(), url, url, url)
	paths := map[string]string{}
	for name, text := range map[string]string{"ingester": cluster + tenants, "normalizer": cluster, "enricher": cluster} {
		paths[name] = filepath.Join(dir, name+".yaml")
		write(t, paths[name], text)
	}
	return paths
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// awaitRecords waits until so many records lie on the enriched topics, while all of these processes run.
func awaitRecords(t *testing.T, brokers []string, n int, running []*testkit.Process) {
	t.Helper()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(3 * time.Minute); time.Now().Before(deadline); <-tick.C {
		if count(t, brokers, "m365") >= n {
			return
		}
		for _, p := range running {
			select {
			case <-p.Done():
				t.Fatalf("a process has ended by itself\n%s", p.Output())
			default:
			}
		}
	}
	t.Fatalf("fewer than %d enriched events after 3 minutes", n)
}
