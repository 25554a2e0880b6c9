package testkit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Build compiles commands of this project, named by their folders such as "normalizer" or "cmd/replay", and returns the folder with the binaries.
func Build(t testing.TB, root string, commands ...string) string {
	t.Helper()
	dir := t.TempDir()
	args := []string{"build", "-o", dir + string(filepath.Separator)}
	for _, command := range commands {
		args = append(args, "./"+command)
	}
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return dir
}

// Process is a program that a test runs. It ends with the test, and with the test's process even when that is killed.
type Process struct {
	cmd    *exec.Cmd
	output *tailBuffer
	done   chan struct{}
	err    error // of Wait; read it after done is closed
}

// StartProcess runs cmd, whose output is kept (see Output), and kills it at the end of t.
func StartProcess(t testing.TB, cmd *exec.Cmd) *Process {
	t.Helper()
	p, err := startProcess(cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p
}

func startProcess(cmd *exec.Cmd) (*Process, error) {
	p := &Process{cmd: cmd, output: &tailBuffer{}, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = p.output, p.output, dieWithParent()
	started := make(chan error, 1)
	go func() {
		// The kernel ends the child when the thread that started it ends, so this goroutine keeps its thread for the child's life.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.done)
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", filepath.Base(cmd.Path), err)
	}
	return p, nil
}

// Kill ends the process with SIGKILL, paused or not, and waits until it is gone.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // the only error is that it has ended
	<-p.done
}

// PID is the id of the process.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Signal sends a signal.
func (p *Process) Signal(s syscall.Signal) error { return p.cmd.Process.Signal(s) }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Output returns the end of what the process printed on both streams.
func (p *Process) Output() string { return p.output.String() }

// ExitCode waits for the process to end by itself and returns its code, −1 if a signal ended it. It fails t with the output when that takes longer than
// bound.
func (p *Process) ExitCode(t testing.TB, bound time.Duration) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	select {
	case <-p.done:
	case <-ctx.Done():
		t.Fatalf("%s has not ended within %s:\n%s", filepath.Base(p.cmd.Path), bound, p.Output())
	}
	if exit := (*exec.ExitError)(nil); errors.As(p.err, &exit) {
		return exit.ExitCode()
	}
	return 0
}

// tailBuffer keeps the end of what is written to it.
type tailBuffer struct {
	mu  sync.Mutex
	buf []byte // guarded by mu
}

// tailSize is enough to see why a process ended.
const tailSize = 64 << 10

// Write keeps p.
func (b *tailBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.buf = append(b.buf, p...)
	if len(b.buf) > 2*tailSize {
		b.buf = bytes.Clone(b.buf[len(b.buf)-tailSize:])
	}
	return len(p), nil
}

// String returns what was kept.
func (b *tailBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(b.buf[max(0, len(b.buf)-tailSize):])
}
