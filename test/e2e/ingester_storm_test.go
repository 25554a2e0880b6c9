//go:build integration || long

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"millrace/internal/m365sim"
	"millrace/internal/m365sim/tenant"
	"millrace/internal/testkit"
	"millrace/pkg/wire"
)

const (
	stormTenants = 20
	stormNumbers = 6
	stormSession = 2 * time.Second
)

// TestIngesterStorm kills replicas of the ingester, at random moments and at each step of taking over and committing, and freezes them for
// longer than their session, while the feed of twenty tenants lives on and each kind of fault hits one request in twenty. Topics and
// ledger must agree with the tenants record by record.
func TestIngesterStorm(t *testing.T) {
	kills, records := 10, 300
	if long {
		kills, records = 200, 1500
	}
	s := newStorm(t, records)
	for i := range s.replicas {
		s.start(i)
	}
	s.await("the first numbers are taken over", func() bool { return len(s.proxy.history()) >= stormNumbers })
	began := time.Now()
	for s.kills < kills {
		s.strike()
	}
	over := time.Now()
	t.Logf("%d kills in %s: %v", s.kills, over.Sub(began).Round(time.Second), s.how)
	s.settle(over)
	s.handovers()
}

// storm is a cluster, a feed and replicas of the ingester between them.
type storm struct {
	t       *testing.T
	kafka   *testkit.Cluster
	sim     *m365sim.Server
	judge   *judge
	proxy   *proxy
	binary  string
	config  string
	random  *rand.Rand
	kills   int
	how     map[string]int
	left    []step // moments at which nobody was killed yet
	strikes []strike

	mu       sync.Mutex // guards replicas
	replicas [3]*testkit.Process
}

// strike is a kill or a freeze.
type strike struct {
	pid    int
	at     time.Time
	frozen bool
}

func newStorm(t *testing.T, records int) *storm {
	t.Helper()
	s := &storm{t: t, random: rand.New(rand.NewPCG(7, uint64(records))), how: map[string]int{}, left: steps()}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	// The broker sends clients to the proxy; the judge goes by the listener of the brokers, which it advertises as it is.
	s.kafka = testkit.StartKafka(t, testkit.KafkaConfig{Advertise: listener.Addr().String(), Properties: map[string]string{
		"group.min.session.timeout.ms": "1000", "broker.session.timeout.ms": "18000",
	}})
	s.proxy = newProxy(t, listener, s.kafka.Brokers[0], s.pids)
	var faults []m365sim.Fault
	for _, name := range m365sim.FaultNames() {
		faults = append(faults, m365sim.Fault{Name: name, Rate: 0.05})
	}
	cfg := m365sim.Config{Dir: t.TempDir(), AlwaysSubscribed: true, Faults: faults, NoGzip: true}
	for seed := range stormTenants {
		cfg.Tenants = append(cfg.Tenants, tenant.Config{Seed: uint64(seed + 1), Records: records, LiveRate: 0.3})
	}
	if s.sim, err = m365sim.New(cfg); err != nil {
		t.Fatal(err)
	}
	if err := s.sim.Start("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := s.sim.Close(ctx); err != nil {
			t.Log(err)
		}
	})
	s.judge = &judge{t: t, brokers: s.kafka.Open, names: wire.Names{Prefix: "m365"}, tenants: s.sim.Tenants()}
	s.binary = filepath.Join(testkit.Build(t, root, "ingester"), "ingester")
	s.config = s.write(listener.Addr().String())
	return s
}

func (s *storm) write(broker string) string {
	dir := s.t.TempDir()
	secret := filepath.Join(dir, "secret")
	write(s.t, secret, m365sim.DefaultClientSecret)
	var b bytes.Buffer
	fmt.Fprintf(&b, "admin:\n  listen: 'off'\nkafka:\n  brokers: [%s]\n  partitions: 4\n  control_partitions: %d\n  session_timeout: %s\n", broker, stormNumbers, stormSession)
	fmt.Fprintf(&b, "limits:\n  retry_wait: 300ms\n  poll_fastest: 1s\n  poll_slowest: 5s\n  spool_dir: %s\ntenants:\n", dir)
	url := s.sim.URL()
	for _, tn := range s.sim.Tenants() {
		fmt.Fprintf(&b, "  - id: %s\n    client_id: %s\n    client_secret: file:%s\n    ca_file: %s\n    components: [activities]\n    hosts: {authority: '%s', api: '%s', graph: '%s'}\n",
			tn.ID(), m365sim.DefaultClientID, secret, s.sim.CAFile(), url, url, url)
	}
	path := filepath.Join(dir, "ingester.yaml")
	write(s.t, path, b.String())
	return path
}

func (s *storm) start(i int) {
	p := testkit.StartProcess(s.t, exec.Command(s.binary, "-config", s.config))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.replicas[i] = p
}

func (s *storm) replica(i int) *testkit.Process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.replicas[i]
}

// pids are the processes of the replicas, 0 for one that was not started yet.
func (s *storm) pids() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []int
	for _, p := range s.replicas {
		if p != nil {
			out = append(out, p.PID())
		}
	}
	return out
}

// await waits for something, and fails the test if a replica ends by itself meanwhile.
func (s *storm) await(what string, done func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(5 * time.Minute); !done(); time.Sleep(200 * time.Millisecond) {
		s.alive()
		if time.Now().After(deadline) {
			s.t.Fatalf("not within five minutes: %s\n%s", what, s.replica(0).Output())
		}
	}
}

func (s *storm) alive() {
	s.t.Helper()
	for i := range s.replicas {
		select {
		case <-s.replica(i).Done():
			s.t.Fatalf("replica %d ended by itself\n%s", i, s.replica(i).Output())
		default:
		}
	}
}

// strike does one thing to a replica. One in fifteen is a freeze, the others are kills, two of three at a step.
func (s *storm) strike() {
	s.alive()
	switch s.kills % 15 {
	case 5:
		s.freeze()
	case 0, 3, 8, 10, 13:
		time.Sleep(time.Duration(s.random.Int64N(int64(2 * time.Second))))
		s.kill(s.random.IntN(len(s.replicas)), "random moment")
	default:
		s.killAtStep()
	}
	// Most kills come one upon the other, some are left time to be recovered from.
	if s.random.IntN(3) == 0 {
		s.recover()
	}
}

func (s *storm) kill(i int, how string) {
	p := s.replica(i)
	s.strikes = append(s.strikes, strike{pid: p.PID(), at: time.Now()})
	p.Kill()
	s.kills++
	s.how[how]++
	s.start(i)
}

// killAtStep kills whichever replica next comes to a moment, each moment in turn.
func (s *storm) killAtStep() {
	if len(s.left) == 0 {
		s.left = steps()
	}
	at := s.left[0]
	s.left = s.left[1:]
	name := at.String()
	at.skip = s.random.IntN(4)
	dead := make(chan int, 1) // one: the proxy does not wait
	s.proxy.arm(at, func(pid int) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
		dead <- pid
	})
	if strings.HasPrefix(name, "InitProducerID") || strings.HasPrefix(name, "OffsetFetch") { // it comes with a handover only
		s.kill(s.random.IntN(len(s.replicas)), "random moment")
	}
	select {
	case pid := <-dead:
		s.buried(pid, at, name)
	case <-time.After(20 * time.Second):
		if !s.proxy.disarm() {
			s.left = append(s.left, step{name: at.name, answered: at.answered})
			return
		}
		s.buried(<-dead, at, name)
	}
}

// buried starts a replica again that was killed at a step.
func (s *storm) buried(pid int, at step, how string) {
	i := slices.Index(s.pids(), pid)
	if i < 0 {
		if !slices.ContainsFunc(s.strikes, func(k strike) bool { return k.pid == pid }) {
			s.t.Fatalf("process %d is none of the replicas", pid)
		}
		// It came to the moment while it was killed to bring that moment about: the moment's turn comes again.
		s.left = append(s.left, step{name: at.name, answered: at.answered})
		return
	}
	<-s.replica(i).Done()
	s.strikes = append(s.strikes, strike{pid: pid, at: time.Now()})
	s.kills++
	s.how[how]++
	s.start(i)
}

// freeze stops a replica for longer than its session: others take its numbers, and when it goes on it must find out.
func (s *storm) freeze() {
	i := s.random.IntN(len(s.replicas))
	p := s.replica(i)
	s.strikes = append(s.strikes, strike{pid: p.PID(), at: time.Now(), frozen: true})
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		s.t.Fatal(err)
	}
	time.Sleep(2*stormSession + time.Second)
	if err := p.Signal(syscall.SIGCONT); err != nil {
		s.t.Fatal(err)
	}
	s.kills++
	s.how["freeze"]++
}

// recover waits until the last strike is recovered from, as far as that can be told: every number is a running replica's.
func (s *storm) recover() {
	for deadline := time.Now().Add(stormSession + 5*time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		owners, running := s.owners(time.Now()), s.pids()
		owned := 0
		for _, pid := range owners {
			if slices.Contains(running, pid) {
				owned++
			}
		}
		if owned == stormNumbers {
			return
		}
	}
}

// owners tells which process had taken each number over last, by a moment.
func (s *storm) owners(by time.Time) map[int]int {
	out := map[int]int{}
	for _, h := range s.proxy.history() {
		if !h.at.After(by) {
			out[h.number] = h.pid
		}
	}
	return out
}

// settle waits until everything that had come into being by the end of the storm is on the topics, and judges.
func (s *storm) settle(over time.Time) {
	var f *findings
	s.await("everything is on the topics", func() bool {
		time.Sleep(2 * time.Second) // a look goes over everything
		var err error
		if f, err = s.judge.look(s.t.Context(), over); err != nil {
			s.t.Log(err) // a broker out of breath is asked again
			return false
		}
		return f.missing == 0 && f.unlisted == 0 || f.repeated > 0
	})
	s.t.Log(f)
	if !f.clean() {
		s.t.Errorf("not clean:\n%s", strings.Join(f.named, "\n"))
	}
	s.t.Logf("faults that hit: %v", s.sim.Ledger().Faults)
	if improper := s.sim.Ledger().Improper; improper["stop called"]+improper["start repeated within 15 minutes"]+improper["window rule broken"] > 0 {
		s.t.Errorf("what a good client does not do: %v", improper)
	}
}

// handovers states how long the numbers of a replica were without an owner after a strike. Where another strike came before that, it is not
// known whom it hit: such handovers are counted only.
func (s *storm) handovers() {
	longest, clean, disturbed := time.Duration(0), 0, 0
	history := s.proxy.history()
	for i, hit := range s.strikes {
		for number, pid := range s.owners(hit.at) {
			if pid != hit.pid {
				continue
			}
			next := slices.IndexFunc(history, func(h takeover) bool { return h.number == number && h.at.After(hit.at) && h.pid != pid })
			if next < 0 {
				continue // frozen for less than it took others to notice
			}
			took := history[next].at.Sub(hit.at)
			if i+1 < len(s.strikes) && s.strikes[i+1].at.Before(history[next].at) {
				disturbed++
				continue
			}
			clean++
			longest = max(longest, took)
		}
	}
	s.t.Logf("%d handovers, the longest %s (session timeout %s); %d more were struck by the next kill", clean, longest.Round(10*time.Millisecond), stormSession, disturbed)
	if bound := stormSession + 5*time.Second; longest > bound {
		s.t.Errorf("the longest handover took %s, want at most %s", longest, bound)
	}
}
