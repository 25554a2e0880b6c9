//go:build integration || long

package e2e

import (
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"millrace/internal/testkit"
)

// killLoop starts the standalone again and again, kills it at random moments, and lets the last one come to its end. It returns the last
// one's exit code and what it printed.
func killLoop(t *testing.T, kills int, args ...string) (int, string) {
	t.Helper()
	binary := filepath.Join(testkit.Build(t, "../..", "cmd/standalone"), "standalone")
	random := rand.New(rand.NewPCG(1, uint64(kills)))
	for i := range kills {
		p := testkit.StartProcess(t, exec.Command(binary, args...))
		wait := 500*time.Millisecond + time.Duration(random.Int64N(int64(6*time.Second)))
		select {
		case <-time.After(wait):
			p.Kill()
			t.Logf("kill %d after %s", i+1, wait.Round(time.Millisecond))
		case <-p.Done(): // it was done before its moment came
			t.Logf("run %d ended by itself within %s", i+1, wait.Round(time.Millisecond))
		}
	}
	p := testkit.StartProcess(t, exec.Command(binary, args...))
	code := p.ExitCode(t, 15*time.Minute)
	return code, p.Output()
}

// verdict is the last lines of what the standalone printed: the table and what follows it.
func verdict(output string) string {
	_, table, _ := strings.Cut(output, "comparing the topics with the source")
	return table
}

// killSize is how often a loop kills and how many records the tenant has.
func killSize() (kills int, records string) {
	if long {
		return 20, "200000"
	}
	return 4, "40000"
}

// TestKillStandalone kills the standalone together with its embedded broker: nothing may be missing or repeated.
func TestKillStandalone(t *testing.T) {
	kills, records := killSize()
	code, output := killLoop(t, kills, "-once", "-data", t.TempDir(), "-records", records, "-seed", "5")
	t.Log(verdict(output))
	if code != 0 || !strings.Contains(output, "proof holds") {
		t.Errorf("exit code %d\n%s", code, output)
	}
}

// TestKillOnKafka kills the standalone while it writes to Apache Kafka, which is left alone: nothing may be missing or repeated.
func TestKillOnKafka(t *testing.T) {
	kafka := testkit.StartKafka(t, testkit.KafkaConfig{})
	kills, records := killSize()
	code, output := killLoop(t, kills, "-once", "-kafka", strings.Join(kafka.Brokers, ","), "-data", t.TempDir(), "-records", records, "-seed", "5")
	t.Log(verdict(output))
	if code != 0 || !strings.Contains(output, "proof holds") {
		t.Errorf("exit code %d\n%s", code, output)
	}
}
