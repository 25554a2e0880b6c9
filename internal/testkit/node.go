package testkit

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
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

// node is one broker.
type node struct {
	java       javaCommand
	home       string
	properties string

	mu   sync.Mutex
	proc *Process // nil before the first start; guarded by mu
}

// start runs the broker. It returns when the process exists, not when it serves.
func (n *node) start() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.proc != nil && !isClosed(n.proc.Done()) {
		return errors.New("node runs already")
	}
	cmd := exec.Command(n.java.java, n.java.args("kafka.Kafka", n.properties)...)
	cmd.Dir = n.home
	proc, err := startProcess(cmd)
	if err == nil {
		n.proc = proc
	}
	return err
}

func (n *node) process() *Process {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.proc
}

func (n *node) kill() {
	if p := n.process(); p != nil {
		p.Kill()
	}
}

func (n *node) signal(s syscall.Signal) error {
	p := n.process()
	if p == nil {
		return errors.New("node was never started")
	}
	return p.Signal(s)
}

// ended tells whether the process is gone.
func (n *node) ended() bool {
	p := n.process()
	return p == nil || isClosed(p.Done())
}

func (n *node) output() string {
	if p := n.process(); p != nil {
		return tail([]byte(p.Output()))
	}
	return ""
}

func isClosed(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}
