//go:build integration

package kafkatx

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"millrace/internal/testkit"
)

// newerBuild compiles the tests once more, as a build that knows one more format of the state.
func newerBuild(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "newer.test")
	if out, err := exec.CommandContext(t.Context(), "go", "test", "-c", "-tags", "integration,newerformat", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return binary
}

// fleet is a deployment of worker processes under load.
type fleet struct {
	*handover
	t       *testing.T
	order   twist
	started int
	workers []*testkit.Process
}

// startFleet starts three workers of a build.
func startFleet(t *testing.T, k *testkit.Cluster, build string) *fleet {
	order := twist{Brokers: k.Brokers, Name: "upgrade", In: "in", State: "state", Out: "out", Session: 2 * time.Second}
	f := &fleet{handover: startHandover(t, k.Brokers, 6), t: t, order: order}
	for range 3 {
		f.workers = append(f.workers, f.start(build, order))
	}
	return f
}

// start starts a worker and waits until it has written something.
func (f *fleet) start(build string, order twist) *testkit.Process {
	f.t.Helper()
	by, p := f.launch(build, order)
	eventually(f.t, by+" writes", func() bool { return f.owned(by) > 0 })
	return p
}

func (f *fleet) launch(build string, order twist) (by string, p *testkit.Process) {
	f.started++
	order.By = fmt.Sprint("w", f.started)
	return order.By, startBuild(f.t, build, order)
}

// roll replaces one worker after the other.
func (f *fleet) roll(build string, order twist) {
	f.t.Helper()
	for i := range f.workers {
		f.end(i)
		f.workers[i] = f.start(build, order)
	}
}

// end stops a worker as a supervisor does.
func (f *fleet) end(i int) {
	f.t.Helper()
	p := f.workers[i]
	if err := p.Signal(syscall.SIGTERM); err != nil {
		f.t.Fatal(err)
	}
	if code := p.ExitCode(f.t, deadline); code != 0 {
		f.t.Fatalf("a worker ended with code %d:\n%s", code, p.Output())
	}
}

// refused waits until a worker has ended with a line that says why.
func (f *fleet) refused(p *testkit.Process, parts ...string) {
	f.t.Helper()
	if code := p.ExitCode(f.t, deadline); code != 1 {
		f.t.Errorf("a worker that cannot go on ended with code %d", code)
	}
	wantError(f.t, fmt.Errorf("%s", lastLine(p.Output())), parts...)
	f.t.Log(lastLine(p.Output()))
}

// carryOn waits until all that was sent so far is out.
func (f *fleet) carryOn() {
	f.t.Helper()
	f.sight.await(f.t, f.stream)
}

// TestKafkaUpgrade rolls workers from a build to a newer one, which knows one more format of the state, and back, while records come in.
func TestKafkaUpgrade(t *testing.T) {
	older, newer := os.Args[0], newerBuild(t)
	refusal := []string{"the state has records of format 2 and this build reads formats up to 1", "run the newer build again"}
	t.Run("readers first", func(t *testing.T) {
		f := startFleet(t, testkit.StartKafka(t, testkit.KafkaConfig{Properties: kafkaProperties}), older)
		careful := f.order
		careful.Writes = 1
		f.roll(newer, careful)
		f.roll(older, f.order) // nothing was written that it cannot read
		f.roll(newer, careful)
		f.roll(newer, f.order) // a release that writes what the one before can read
		f.roll(newer, careful) // and back
		_, p := f.launch(older, f.order)
		f.refused(p, refusal...)
		f.carryOn()
		f.finish(t)
	})
	t.Run("at once", func(t *testing.T) {
		f := startFleet(t, testkit.StartKafka(t, testkit.KafkaConfig{Properties: kafkaProperties}), older)
		f.roll(newer, f.order)
		_, p := f.launch(older, f.order)
		f.refused(p, refusal...)
		f.carryOn()
		f.finish(t)
	})
	t.Run("the newer one dies in between", func(t *testing.T) {
		f := startFleet(t, testkit.StartKafka(t, testkit.KafkaConfig{Properties: kafkaProperties}), older)
		f.end(0)
		f.start(newer, f.order).Kill()
		for _, p := range f.workers[1:] { // one after the other is given what it cannot read
			f.refused(p, refusal...)
		}
		f.workers[0] = f.start(newer, f.order)
		f.carryOn()
		f.finish(t)
	})
	t.Run("another layout", func(t *testing.T) {
		f := startFleet(t, testkit.StartKafka(t, testkit.KafkaConfig{Properties: kafkaProperties}), older)
		next := f.order
		next.Layout = 1
		apart := []string{"another state layout", "stop all members of the old kind"}
		_, p := f.launch(newer, next)
		f.refused(p, apart...)
		f.carryOn()
		for i := range f.workers {
			f.end(i)
		}
		f.workers[0] = f.start(newer, next)
		_, p = f.launch(older, f.order)
		f.refused(p, apart...)
		f.carryOn()
		f.end(0)
		_, p = f.launch(older, f.order)
		f.refused(p, refusal...)
		f.workers[0] = f.start(newer, next)
		f.carryOn()
		f.finish(t)
	})
}
