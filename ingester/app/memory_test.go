//go:build long

package app

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"millrace/internal/m365sim"
	"millrace/internal/testkit"
)

// TestMemoryOfProcess runs the binary and states the most memory that it had resident.
func TestMemoryOfProcess(t *testing.T) {
	binary := filepath.Join(testkit.Build(t, "../..", "ingester"), "ingester")
	t.Run("a week of 100,000 records", func(t *testing.T) {
		w := newWorld(t, 100_000, func(c *m365sim.Config) { c.PageSize = 500 })
		(&distant{Handler: w.sim}).serve(t, &w.cfg)
		peak := peakOf(t, binary, w, len(w.expected(time.Time{})), "fetches: 48", "memory: 48MiB")
		t.Logf("peak %d MiB", peak>>20)
		if peak > 128<<20 {
			t.Errorf("peak %d MiB, want 128 at most", peak>>20)
		}
	})
	t.Run("blobs of 64 MiB", func(t *testing.T) {
		f := newFakeFeed(t)
		const blobs, records = 6, 1024
		for b := range blobs {
			var list []string
			for i := range records {
				list = append(list, strings.Replace(record(b*records+i), `"Note":"`, `"Note":"`+strings.Repeat("abcdefgh", 64<<10/8), 1))
			}
			f.add(fmt.Sprint("huge", b), array(list...), time.Duration(b+1)*time.Hour)
		}
		peak := peakOf(t, binary, fakeWorld(t, f), blobs*records, "content_types: [Audit.General]", "")
		t.Logf("peak %d MiB", peak>>20)
		if peak > 256<<20 {
			t.Errorf("peak %d MiB, want 256 at most", peak>>20)
		}
	})
}

// peakOf runs the ingester of a world as a process of its own until so many records are on the raw topics.
func peakOf(t *testing.T, binary string, w *world, records int, tenant, limits string) int {
	t.Helper()
	dir := t.TempDir()
	secret, err := w.cfg.Tenants[0].Secret.Reveal()
	if err != nil {
		t.Fatal(err)
	}
	tn := w.cfg.Tenants[0]
	text := fmt.Sprintf("admin:\n  listen: 'off'\nkafka:\n  brokers: [%s]\n  partitions: 3\n  control_partitions: 2\nlimits:\n  poll_fastest: 200ms\n  %s\n"+
		"tenants:\n  - id: %s\n    client_id: %s\n    client_secret: file:%s\n    ca_file: %s\n    requests_per_minute: 1000000\n    components: [activities]\n"+
		"    hosts: {authority: '%[8]s', api: '%[8]s', graph: '%[8]s'}\n    %[7]s\n",
		w.broker.Addr(), limits, tn.ID, tn.ClientID, filepath.Join(dir, "secret"), tn.CAFile, tenant, tn.Hosts.API)
	for name, content := range map[string]string{"secret": secret, "ingester.yaml": text} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	raw := w.read(w.rawTopics()...)
	p := testkit.StartProcess(t, exec.Command(binary, "-config", filepath.Join(dir, "ingester.yaml")))
	for deadline := time.Now().Add(5 * time.Minute); raw.count() < records; time.Sleep(100 * time.Millisecond) {
		select {
		case <-p.Done():
			t.Fatalf("the ingester ended\n%s", p.Output())
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d records\n%s", raw.count(), records, p.Output())
		}
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return kib << 10
}
