//go:build long

package e2e

import (
	"regexp"
	"strings"
	"testing"
)

const long = true

// TestKillStandalone kills the standalone on its embedded broker. That broker may break the one transaction that was in flight; the proof
// must show of every problem that it lay in such a transaction.
func TestKillStandalone(t *testing.T) {
	code, output := killLoop(t, 20, "-once", "-data", t.TempDir(), "-records", "200000", "-seed", "5")
	t.Log(verdict(output))
	if code == 0 && strings.Contains(output, "proof holds") {
		return
	}
	m := regexp.MustCompile(`was killed: (\d+) of (\d+) problems`).FindStringSubmatch(output)
	if m == nil || m[1] != m[2] {
		t.Errorf("exit code %d: a problem lies outside the transactions in flight\n%s", code, output)
	}
}
