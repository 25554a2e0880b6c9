package testkit

import (
	"bytes"
	"runtime"
	"strings"
	"testing"
	"time"
)

// leakWait bounds how long goroutines may take to end after the test: they were told to, and on a loaded machine they need a moment.
const leakWait = 15 * time.Second

// NoLeaks fails t if, at its end, goroutines run that did not run when NoLeaks was called. Call it first in a test that is not parallel:
// it cannot tell the goroutines of two tests that run at once.
func NoLeaks(t testing.TB) {
	t.Helper()
	before := goroutines()
	t.Cleanup(func() {
		deadline := time.Now().Add(leakWait)
		for {
			left := leaked(before, goroutines())
			if len(left) == 0 {
				return
			}
			if time.Now().After(deadline) {
				t.Errorf("%d goroutines outlive the test:\n\n%s", len(left), strings.Join(left, "\n\n"))
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	})
}

// goroutines returns the stack of every goroutine by its header's "goroutine N".
func goroutines() map[string]string {
	buf := make([]byte, 1<<20)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) {
			buf = buf[:n]
			break
		}
		buf = make([]byte, 2*len(buf))
	}
	stacks := map[string]string{}
	for stack := range bytes.SplitSeq(buf, []byte("\n\n")) {
		id, _, _ := strings.Cut(string(stack), " [")
		stacks[id] = string(stack)
	}
	return stacks
}

// leaked returns the stacks of now that are not in before and that are not the test framework's or the runtime's own.
func leaked(before, now map[string]string) []string {
	var left []string
	for id, stack := range now {
		if _, known := before[id]; known || isFramework(stack) {
			continue
		}
		left = append(left, stack)
	}
	return left
}

func isFramework(stack string) bool {
	for _, own := range []string{
		"testing.(*T).Run", "testing.tRunner", "testing.runFuzzing", "testing.(*M).", "testing.runTests",
		"created by runtime", "runtime.goexit0", "os/signal.loop", "os/signal.signal_recv", "runtime/trace.", "runtime/pprof.",
	} {
		if strings.Contains(stack, own) && !strings.Contains(stack, "created by millrace/") {
			return true
		}
	}
	return false
}
