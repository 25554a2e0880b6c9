// Package e2e runs the real binaries, kills them, and has the topics compared with what the tenant has, record by record.
package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"millrace/internal/m365sim"
	"millrace/internal/m365sim/tenant"
	"millrace/internal/proof"
	"millrace/normalizer/app"
	"millrace/pkg/audit"
	"millrace/pkg/wire"
)

// build compiles a command of this project into a folder of the test and returns the path of the binary.
func build(t *testing.T, pkg string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), filepath.Base(pkg))
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", out, "./"+pkg)
	cmd.Dir = filepath.Join("..", "..")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", pkg, err, text)
	}
	return out
}

// process is a running binary.
type process struct {
	cmd    *exec.Cmd
	output *tail
	done   chan struct{}
	err    error // of Wait, once done is closed
}

// start runs a binary. It is killed at the end of the test if it still runs, and when the test process dies.
func start(t *testing.T, binary string, env []string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(binary, args...), output: &tail{}, done: make(chan struct{})} //nolint:noctx // ended by kill and stop
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = p.output, p.output
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(p.kill)
	return p
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended by itself
	<-p.done
}

// stop asks for a graceful stop and waits for it.
func (p *process) stop(t *testing.T) {
	t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
		if p.err != nil {
			t.Errorf("%s: %v\n%s", filepath.Base(p.cmd.Path), p.err, p.output)
		}
	case <-time.After(time.Minute):
		t.Errorf("%s does not stop\n%s", filepath.Base(p.cmd.Path), p.output)
	}
}

// exitCode waits for the process to end by itself.
func (p *process) exitCode(t *testing.T, within time.Duration) int {
	t.Helper()
	select {
	case <-p.done:
	case <-time.After(within):
		t.Fatalf("%s has not ended within %s\n%s", filepath.Base(p.cmd.Path), within, p.output)
	}
	var exit *exec.ExitError
	if errors.As(p.err, &exit) {
		return exit.ExitCode()
	}
	return 0
}

// tail keeps the end of what a process prints.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

const tailSize = 64 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if len(t.buf) > tailSize {
		t.buf = bytes.Clone(t.buf[len(t.buf)-tailSize:])
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf)
}

// feed is a simulated Microsoft 365 in the test's process, so that it outlives whatever is killed.
type feed struct {
	sim    *m365sim.Server
	tenant *tenant.Tenant
}

func newFeed(t *testing.T, records int, faults ...m365sim.Fault) *feed {
	t.Helper()
	cfg := tenant.Config{Seed: 11, Records: records, Origin: time.Now(), LiveRate: -1}
	tn, err := tenant.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Origin = tn.Config().Origin
	sim, err := m365sim.New(m365sim.Config{Tenants: []tenant.Config{cfg}, Dir: t.TempDir(), AlwaysSubscribed: true, Quota: -1, Faults: faults})
	if err != nil {
		t.Fatal(err)
	}
	if err := sim.Start("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := sim.Close(ctx); err != nil {
			t.Log(err)
		}
	})
	return &feed{sim: sim, tenant: tn}
}

// source lists what the tenant has.
func (f *feed) source(ctx context.Context, fn func(proof.Item) error) error {
	return f.tenant.Blobs(ctx, time.Time{}, func(b tenant.Blob) error {
		domain := audit.DomainAudit
		if b.ContentType == tenant.DLP {
			domain = audit.DomainDLP
		}
		for i, raw := range b.Records {
			if err := fn(proof.Item{ContentID: b.ContentID, Index: i, Domain: domain, Raw: raw}); err != nil {
				return err
			}
		}
		return nil
	})
}

// prove compares until nothing is missing any more, or nothing has come for a while, and returns the verdict.
func (f *feed) prove(t *testing.T, brokers []string, prefix string) *proof.Report {
	t.Helper()
	mapper, err := app.NewMap(app.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	cfg := proof.Config{Brokers: brokers, Names: wire.Names{Prefix: prefix}, Source: f.source, Map: proofMap(mapper)}
	best, moved := -1, time.Now()
	for {
		r, err := proof.Run(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		missing := r.Total().Missing
		if missing == 0 {
			return r
		}
		if missing != best {
			best, moved = missing, time.Now()
		}
		if time.Since(moved) > 2*time.Minute {
			return r
		}
	}
}

func proofMap(m func(audit.Record) ([]wire.Event, error)) func(audit.Record) ([]proof.Mapped, error) {
	return func(r audit.Record) ([]proof.Mapped, error) {
		events, err := m(r)
		mapped := make([]proof.Mapped, len(events))
		for i, e := range events {
			mapped[i] = proof.Mapped{UID: e.UID, ClassUID: e.ClassUID, Value: e.Value}
		}
		return mapped, err
	}
}

// holds fails the test, with the verdict, if anything is missing, repeated or wrong.
func holds(t *testing.T, r *proof.Report) {
	t.Helper()
	var text bytes.Buffer
	if err := r.Write(&text); err != nil {
		t.Fatal(err)
	}
	t.Log("\n" + text.String())
	if !r.Holds() {
		t.Error("the proof fails")
	}
}

var _ io.Writer = (*tail)(nil)

// stage is what the configuration of each binary says about the cluster.
func clusterConfig(brokers []string, prefix string, create bool) string {
	return fmt.Sprintf("kafka:\n  brokers: [%s]\n  prefix: %s\n  partitions: 4\n  control_partitions: 4\n  topics:\n    create: %t\n", brokers[0], prefix, create)
}
