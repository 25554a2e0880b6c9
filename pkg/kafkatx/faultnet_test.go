package kafkatx

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
)

// fault is what happens to one request.
type fault int

const (
	faultNone       fault = iota
	faultNotApplied       // the connection breaks before the broker gets the request
	faultAnswerLost       // the broker carries the request out; the connection breaks before the answer arrives
)

func (f fault) String() string { return [...]string{"none", "not applied", "answer lost"}[f] }

var errInjected = errors.New("injected fault")

// faultNet stands between a client and the network. It knows just enough of the protocol to tell requests apart.
type faultNet struct {
	mu     sync.Mutex
	decide func(key int16) fault // nil = none
	hits   map[string]int        // injected, by key and fault
	gate   chan struct{}         // closed = open; all traffic waits for it

	sent     func(key int16) // called when a request is written, if set; not to be changed once a client uses the network
	answered func(key int16) // called when its answer arrives, before the client sees it, if set; the same
}

func newFaultNet() *faultNet {
	n := &faultNet{hits: map[string]int{}, gate: make(chan struct{})}
	close(n.gate)
	return n
}

// install makes a client use the network.
func (n *faultNet) install(c *Client) {
	dial := c.transport.Dial
	c.transport.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		if err := n.pass(ctx); err != nil {
			return nil, err
		}
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &faultConn{Conn: conn, net: n}, nil
	}
}

// freeze holds up all traffic until the returned function is called, as if the process had been stopped.
func (n *faultNet) freeze() (thaw func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	gate := make(chan struct{})
	n.gate = gate
	return sync.OnceFunc(func() { close(gate) })
}

func (n *faultNet) pass(ctx context.Context) error {
	n.mu.Lock()
	gate := n.gate
	n.mu.Unlock()
	select {
	case <-gate:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (n *faultNet) choose(key int16) fault {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.decide == nil {
		return faultNone
	}
	f := n.decide(key)
	if f != faultNone {
		n.hits[fmt.Sprint(key, " ", f)]++
	}
	return f
}

func (n *faultNet) set(decide func(key int16) fault) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.decide = decide
}

func (n *faultNet) count() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	sum := 0
	for _, v := range n.hits {
		sum += v
	}
	return sum
}

// faultConn is one connection. kafka-go has one request under way on it at a time.
type faultConn struct {
	net.Conn
	net  *faultNet
	left int   // bytes of the request that are still to be written
	act  fault // on the request under way
	key  int16 // of the request under way
	open bool  // its answer has not begun
}

func (c *faultConn) Write(p []byte) (int, error) {
	_ = c.net.pass(context.Background())
	if c.left == 0 {
		if len(p) < 6 {
			return 0, fmt.Errorf("a request begins with %d bytes", len(p))
		}
		c.left = int(binary.BigEndian.Uint32(p)) + 4
		c.key, c.open = int16(binary.BigEndian.Uint16(p[4:])), true
		c.act = c.net.choose(c.key)
		if c.act == faultNotApplied {
			return 0, errors.Join(errInjected, c.Close())
		}
	}
	n, err := c.Conn.Write(p)
	c.left -= n
	if c.left == 0 && c.net.sent != nil {
		c.net.sent(c.key)
	}
	return n, err
}

func (c *faultConn) Read(p []byte) (int, error) {
	_ = c.net.pass(context.Background())
	if c.act == faultAnswerLost && c.left == 0 {
		var size [4]byte
		_, err := io.ReadFull(c.Conn, size[:])
		if err == nil {
			_, err = io.CopyN(io.Discard, c.Conn, int64(binary.BigEndian.Uint32(size[:])))
		}
		return 0, errors.Join(errInjected, err, c.Close())
	}
	n, err := c.Conn.Read(p)
	if c.open && n > 0 && c.net.answered != nil {
		c.open = false
		c.net.answered(c.key)
	}
	return n, err
}

// worker is a stage that can be crashed.
type worker struct {
	*Stage
	c      *Client
	net    *faultNet
	cancel context.CancelFunc
	done   chan error
}

func startWorker(t testing.TB, brokers []string, cfg StageConfig, fn *faultNet) *worker {
	t.Helper()
	c, err := NewClient(ClientConfig{Brokers: brokers, Logger: testLogger(t)})
	if err != nil {
		t.Fatalf("NewClient: %v", err)
	}
	if fn != nil {
		fn.install(c)
	}
	s, err := NewStage(c, cfg)
	if err != nil {
		t.Fatalf("NewStage: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	w := &worker{Stage: s, c: c, net: fn, cancel: cancel, done: make(chan error, 1)}
	go func() { w.done <- s.Run(ctx) }()
	return w
}

// crash ends the worker as a kill would: nothing is aborted, nobody is told.
func (w *worker) crash() error {
	w.c.Close()
	w.cancel()
	return <-w.done
}

// finish ends it gracefully.
func (w *worker) finish() error {
	w.cancel()
	err := <-w.done
	w.c.Close()
	return err
}

// owns counts the numbers that the worker owns.
func (w *worker) owns() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.owners)
}
