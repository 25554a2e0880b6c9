package testkit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
)

// javaCommand runs classes of a version's jars.
type javaCommand struct {
	java, jars string
	heapMiB    int
}

func (j javaCommand) args(class ...string) []string {
	return append([]string{
		fmt.Sprintf("-Xmx%dm", j.heapMiB), "-XX:+UseG1GC", "-Djava.awt.headless=true",
		"-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.showDateTime=true",
		"-cp", filepath.Join(j.jars, "*"),
	}, class...)
}

// run runs a class to its end.
func (j javaCommand) run(ctx context.Context, class ...string) error {
	cmd := exec.CommandContext(ctx, j.java, j.args(class...)...)
	cmd.SysProcAttr = dieWithParent()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", class[0], err, tail(out))
	}
	return nil
}

// node is one broker process.
type node struct {
	java       javaCommand
	home       string
	properties string

	mu   sync.Mutex
	proc *os.Process   // nil before the first start; guarded by mu
	done chan struct{} // closed when proc is gone; guarded by mu
}

// start runs the broker. It returns when the process exists, not when it serves.
func (n *node) start() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.proc != nil && !isClosed(n.done) {
		return errors.New("node runs already")
	}
	log, err := os.Create(n.logFile())
	if err != nil {
		return err
	}
	cmd := exec.Command(n.java.java, n.java.args("kafka.Kafka", n.properties)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = n.home, log, log
	cmd.SysProcAttr = dieWithParent()
	started, done := make(chan error, 1), make(chan struct{})
	go func() {
		// The kernel ends the child when the thread that started it ends, so this goroutine keeps its thread for the child's life.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(done)
		defer func() { _ = log.Close() }()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended is in its log
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start broker: %w", err)
	}
	n.proc, n.done = cmd.Process, done
	return nil
}

// kill ends the process with SIGKILL, paused or not, and waits for it.
func (n *node) kill() {
	n.mu.Lock()
	proc, done := n.proc, n.done
	n.mu.Unlock()
	if proc == nil {
		return
	}
	_ = proc.Kill() // the only error is that it has ended
	<-done
}

func (n *node) pause() error  { return n.signal(syscall.SIGSTOP) }
func (n *node) resume() error { return n.signal(syscall.SIGCONT) }

func (n *node) signal(s syscall.Signal) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.proc == nil {
		return errors.New("node was never started")
	}
	return n.proc.Signal(s)
}

// ended tells whether the process is gone.
func (n *node) ended() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.proc == nil || isClosed(n.done)
}

func (n *node) logFile() string { return filepath.Join(n.home, "broker.log") }

func (n *node) output() string {
	out, err := os.ReadFile(n.logFile())
	if err != nil {
		return err.Error()
	}
	return tail(out)
}

func isClosed(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}
