package testkit

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// recorder is a testing.TB that notes failures instead of having them.
type recorder struct {
	testing.TB
	failures []string
	cleanups []func()
}

func (r *recorder) Helper() {}
func (r *recorder) Errorf(format string, _ ...any) {
	r.failures = append(r.failures, format)
}
func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }

func TestGolden(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "deep", "golden.txt")
	r := &recorder{TB: t}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("one\ntwo\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	Golden(r, path, []byte("one\ntwo\n"))
	if len(r.failures) != 0 {
		t.Errorf("equal bytes: %d failures, want none", len(r.failures))
	}
	Golden(r, path, []byte("one\nthree\n"))
	if len(r.failures) != 1 {
		t.Errorf("other bytes: %d failures, want 1", len(r.failures))
	}
}

func TestLoggerIsQuietAfterTheTest(t *testing.T) {
	t.Parallel()
	r := &recorder{TB: t}
	log := Logger(r)
	log.Info("during the test", "topic", "example")
	r.cleanups[0]()
	r.TB = nil // a line that still arrived would now panic
	log.Info("after the test")
}

// NoLeaks compares the goroutines of the whole process, so this test must not run beside others.
func TestNoLeaks(t *testing.T) {
	before := goroutines()
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		<-stop
	}()
	left := leaked(before, goroutines())
	if !slices.ContainsFunc(left, func(stack string) bool { return strings.Contains(stack, "TestNoLeaks") }) {
		t.Errorf("the running goroutine is not reported; reported: %q", left)
	}
	close(stop)
	<-stopped
	NoLeaks(t)
}

func TestJavaMajor(t *testing.T) {
	t.Parallel()
	tests := []struct {
		output string
		want   int
		ok     bool
	}{
		{"openjdk version \"17.0.15\" 2025-04-15\nOpenJDK Runtime Environment", 17, true},
		{"openjdk version \"21\" 2023-09-19", 21, true},
		{"openjdk version \"25-ea\" 2025-09-16", 25, true},
		{"java version \"1.8.0_292\"", 1, true},
		{"no such command", 0, false},
		{"openjdk version \"next\"", 0, false},
	}
	for _, tt := range tests {
		got, err := javaMajor(tt.output)
		if got != tt.want || (err == nil) != tt.ok {
			t.Errorf("javaMajor(%q) = %d, %v; want %d", tt.output, got, err, tt.want)
		}
	}
}

func TestFreePortsDiffer(t *testing.T) {
	t.Parallel()
	all, err := freePorts(3)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[int]bool{}
	for _, p := range all {
		for _, port := range []int{p.client, p.broker, p.controller} {
			if seen[port] {
				t.Errorf("port %d given twice", port)
			}
			seen[port] = true
		}
	}
}

func TestProperties(t *testing.T) {
	t.Parallel()
	all := []ports{{1001, 1002, 1003}, {2001, 2002, 2003}, {3001, 3002, 3003}}
	cfg := KafkaConfig{ACL: true, Users: map[string]string{"reader": "pw"}, Properties: map[string]string{"num.io.threads": "2"}}
	got := cfg.properties(1, "/data", all)
	for _, want := range []string{
		"node.id=2\n",
		"controller.quorum.voters=1@127.0.0.1:1003,2@127.0.0.1:2003,3@127.0.0.1:3003\n",
		"transaction.state.log.replication.factor=3\n",
		"transaction.state.log.min.isr=2\n",
		"num.io.threads=2\n",
		"CLIENT:SASL_PLAINTEXT",
		`user_reader="pw"`,
		"StandardAuthorizer\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if open := (KafkaConfig{}).properties(0, "/data", all[:1]); strings.Contains(open, "SASL") || !strings.Contains(open, "offsets.topic.replication.factor=1\n") {
		t.Errorf("open single node:\n%s", open)
	}
}
