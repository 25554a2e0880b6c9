//go:build integration || long

package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// commitSteps are the requests that take a number over and commit a transaction, in the order of docs/exactly-once.md, by their keys in
// the protocol.
var commitSteps = map[string]int16{
	"InitProducerID": 22, "OffsetFetch": 9, "AddPartitionsToTxn": 24, "Produce": 0, "AddOffsetsToTxn": 25, "TxnOffsetCommit": 28, "EndTxn": 26,
}

// step is a moment of a replica's life: a request is about to reach the broker, or was carried out and its answer is about to come back.
type step struct {
	name     string
	answered bool
	skip     int // so many such moments pass first
}

func (s step) String() string {
	if s.answered {
		return s.name + " answered"
	}
	return s.name + " asked"
}

// steps lists all moments.
func steps() []step {
	var all []step
	for _, name := range slices.Sorted(maps.Keys(commitSteps)) {
		all = append(all, step{name: name}, step{name: name, answered: true})
	}
	return all
}

// takeover is an InitProducerID that succeeded: from then on the process owns the number.
type takeover struct {
	number int
	pid    int
	at     time.Time
}

// proxy stands between the replicas and the broker. It sees who takes which number over, and calls back at a moment that it waits for.
type proxy struct {
	t        *testing.T
	listener net.Listener
	broker   string
	pids     func() []int // of the replicas that run

	mu        sync.Mutex // guards what follows
	armed     *step
	hit       func(pid int)
	takeovers []takeover
	conns     map[net.Conn]bool
	wg        sync.WaitGroup
}

// newProxy listens on an address that the broker advertises as its own.
func newProxy(t *testing.T, listener net.Listener, broker string, pids func() []int) *proxy {
	p := &proxy{t: t, listener: listener, broker: broker, pids: pids, conns: map[net.Conn]bool{}}
	p.wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			p.wg.Go(func() { p.serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		p.mu.Lock()
		for c := range p.conns {
			_ = c.Close()
		}
		p.mu.Unlock()
		p.wg.Wait()
	})
	return p
}

// arm calls hit, once, with the process that reaches a moment. The moment does not pass: the request or the answer is dropped.
func (p *proxy) arm(s step, hit func(pid int)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.armed, p.hit = &s, hit
}

// disarm reports whether the moment had come.
func (p *proxy) disarm() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	came := p.armed == nil
	p.armed = nil
	return came
}

func (p *proxy) track(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns[c] = true
}

func (p *proxy) drop(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
	_ = c.Close()
}

// serve carries one connection. kafka-go has one request under way on a connection at a time; a request that expects no answer is not
// among those that the ingester sends.
func (p *proxy) serve(client net.Conn) {
	p.track(client)
	defer p.drop(client)
	broker, err := net.Dial("tcp", p.broker)
	if err != nil {
		return
	}
	p.track(broker)
	defer p.drop(broker)
	pid := p.whose(client)
	for {
		request, err := frame(client)
		if err != nil || len(request) < 6 {
			return
		}
		key := int16(binary.BigEndian.Uint16(request[4:]))
		if p.reached(key, false, pid) {
			return
		}
		if _, err := broker.Write(request); err != nil {
			return
		}
		answer, err := frame(broker)
		if err != nil {
			return
		}
		if key == commitSteps["InitProducerID"] {
			p.took(request, answer, pid)
		}
		if p.reached(key, true, pid) {
			return
		}
		if _, err := client.Write(answer); err != nil {
			return
		}
	}
}

// frame reads one message with its length.
func frame(r io.Reader) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > 256<<20 {
		return nil, fmt.Errorf("a message of %d bytes", n)
	}
	out := make([]byte, 4+n)
	copy(out, size[:])
	_, err := io.ReadFull(r, out[4:])
	return out, err
}

func (p *proxy) reached(key int16, answered bool, pid int) bool {
	p.mu.Lock()
	a := p.armed
	if a == nil || pid == 0 || commitSteps[a.name] != key || a.answered != answered {
		p.mu.Unlock()
		return false
	}
	if a.skip--; a.skip >= 0 {
		p.mu.Unlock()
		return false
	}
	p.armed = nil
	hit := p.hit
	p.mu.Unlock()
	hit(pid)
	return true
}

// took notes a takeover. The request holds the transactional id, m365.ingester.<number>; a successful answer has the error code zero after
// correlation id and throttle time.
func (p *proxy) took(request, answer []byte, pid int) {
	_, rest, found := bytes.Cut(request, []byte(".ingester."))
	digits := 0
	for digits < len(rest) && rest[digits] >= '0' && rest[digits] <= '9' {
		digits++
	}
	number, err := strconv.Atoi(string(rest[:digits]))
	if !found || err != nil || len(answer) < 15 {
		return
	}
	failed := binary.BigEndian.Uint16(answer[12:])
	if flexible := binary.BigEndian.Uint16(request[6:]) >= 2; flexible { // tagged fields follow the correlation id
		failed = binary.BigEndian.Uint16(answer[13:])
	}
	if failed != 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.takeovers = append(p.takeovers, takeover{number: number, pid: pid, at: time.Now()})
}

// history is every takeover so far, in order.
func (p *proxy) history() []takeover {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.takeovers)
}

// whose finds the process at the other end of a connection, 0 if it is none of the replicas.
func (p *proxy) whose(conn net.Conn) int {
	port := conn.RemoteAddr().(*net.TCPAddr).Port
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		p.t.Errorf("whose connection: %v", err)
		return 0
	}
	socket := ""
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line)
		if len(f) > 9 && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", port)) && f[9] != "0" {
			socket = "socket:[" + f[9] + "]"
		}
	}
	for _, pid := range p.pids() {
		dir := fmt.Sprintf("/proc/%d/fd", pid)
		fds, err := os.ReadDir(dir)
		if err != nil {
			continue // it has just ended
		}
		for _, fd := range fds {
			if to, err := os.Readlink(filepath.Join(dir, fd.Name())); err == nil && to == socket {
				return pid
			}
		}
	}
	return 0
}
