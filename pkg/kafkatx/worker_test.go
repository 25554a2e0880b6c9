//go:build integration

package kafkatx

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"millrace/internal/testkit"
)

// Steps at which a worker process can stop or kill itself.
const (
	stepInit    = "after init"    // the answer to InitProducerID has arrived
	stepLoad    = "after load"    // the state is loaded and the first batch is there
	stepProduce = "after produce" // records are written, nothing is committed
	stepOffsets = "after offsets" // positions, too
	stepCommit  = "during commit" // EndTxn is on its way, no answer has arrived
	stepDone    = "after commit"  // the answer has arrived
	stepMerge   = "before merge"  // and was read; the memory is that of before
)

// twistEnv makes the test binary a worker process with something special about it: its value is a twist.
const twistEnv = "KAFKATX_TEST_TWIST"

// twist says what a worker process that runs the census does.
type twist struct {
	Brokers              []string
	Name, In, State, Out string
	Session              time.Duration

	By     string // the worker's name in the census
	Writes int    // format of the census' state; 0 = the newest that the build knows
	Layout int    // of the state

	Step   string // at which the process sends itself Signal; "" = never
	Nth    int    // at the Nth time that it gets there; 0 = 1
	Signal syscall.Signal

	Delay time.Duration // of the first batch only
}

// config is the stage of the twist, without what is special.
func (w *twist) config() StageConfig {
	cfg := censusStage(w.Name, w.In, w.State, w.Out, w.By)
	cfg.SessionTimeout, cfg.RebalanceBound, cfg.MaxBatchRecords, cfg.Layout = w.Session, 2*w.Session, 200, w.Layout
	return cfg
}

// twistedWorker is the life of the process.
func twistedWorker(order string) (exitCode int) {
	var w twist
	err := json.Unmarshal([]byte(order), &w)
	if err == nil {
		err = w.run()
	}
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "worker:", err)
		return 1
	}
	return 0
}

// stepReached is what a worker prints before it sends itself the signal.
const stepReached = "step reached"

// arm returns what to call at each step.
func (w *twist) arm() func(step string) {
	var left atomic.Int64
	left.Store(int64(max(w.Nth, 1)))
	return func(step string) {
		if step != w.Step || left.Add(-1) != 0 {
			return
		}
		_, _ = os.Stderr.WriteString(stepReached + ": " + step + "\n")
		_ = syscall.Kill(os.Getpid(), w.Signal)
		time.Sleep(50 * time.Millisecond) // the signal comes during this, and a stopped process goes on in it
	}
}

func (w *twist) run() error {
	c, err := NewClient(ClientConfig{Brokers: w.Brokers, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		return err
	}
	at := w.arm()
	n := newFaultNet()
	n.sent = func(key int16) {
		if key == 26 {
			at(stepCommit)
		}
	}
	n.answered = func(key int16) {
		if step, ok := map[int16]string{22: stepInit, 0: stepProduce, 28: stepOffsets, 26: stepDone}[key]; ok {
			at(step)
		}
	}
	n.install(c)
	cfg := w.config()
	var late atomic.Bool
	cfg.New = func(int32) (Handler, error) {
		return &census{
			out: w.Out, by: w.By, reads: newestFormat, writes: cmp.Or(w.Writes, newestFormat), counts: map[string]int{},
			merge: func() { at(stepMerge) },
			delay: func() {
				at(stepLoad)
				if w.Delay > 0 && !late.Swap(true) {
					time.Sleep(w.Delay)
				}
			},
		}, nil
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	return Run(ctx, c, cfg)
}

// startProcess runs a worker as a process of its own.
func startProcess(t testing.TB, w twist) *testkit.Process {
	t.Helper()
	return startBuild(t, os.Args[0], w)
}

// startBuild does so with another build of the tests.
func startBuild(t testing.TB, build string, w twist) *testkit.Process {
	t.Helper()
	order, err := json.Marshal(w)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), build)
	cmd.Env = append(os.Environ(), twistEnv+"="+string(order))
	return testkit.StartProcess(t, cmd)
}

// awaitOutput waits until a worker has printed something.
func awaitOutput(t testing.TB, p *testkit.Process, text string) {
	t.Helper()
	for end := time.Now().Add(deadline); !strings.Contains(p.Output(), text); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the worker did not say %q:\n%s", text, p.Output())
		}
	}
}
