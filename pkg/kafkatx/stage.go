package kafkatx

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	kafka "github.com/segmentio/kafka-go"
)

const (
	// checkEvery is how often a running stage looks whether its topics are still what they were.
	checkEvery = 30 * time.Second

	// gaugesEvery is how often lag is measured.
	gaugesEvery = time.Second

	// topicPatience is how long a topic may be unknown before it counts as missing.
	topicPatience = 10 * time.Second
)

// group is the consumer group of a stage.
func (cfg *StageConfig) group() string { return cfg.Prefix + "." + cfg.Name }

// transactionalID is the transactional id of a number.
func (cfg *StageConfig) transactionalID(number int32) string {
	return fmt.Sprintf("%s.%s.%d", cfg.Prefix, cfg.Name, number)
}

// setDefaults checks a configuration and fills in what was left out.
func (cfg *StageConfig) setDefaults() error {
	switch {
	case cfg.Prefix == "" || cfg.Name == "":
		return errors.New("stage: Prefix and Name are needed")
	case cfg.New == nil:
		return errors.New("stage: New is needed")
	case len(cfg.Inputs) == 0 && cfg.StateTopic == "":
		return errors.New("stage: a stage without Inputs needs a StateTopic, whose partitions are its numbers")
	}
	if _, err := parseCodec(cfg.Codec); err != nil {
		return fmt.Errorf("stage: %w", err)
	}
	orInt := func(p *int, v int) {
		if *p <= 0 {
			*p = v
		}
	}
	orDuration := func(p *time.Duration, v time.Duration) {
		if *p <= 0 {
			*p = v
		}
	}
	orInt(&cfg.MaxBatchRecords, 4000)
	orInt(&cfg.MaxBatchBytes, 4<<20)
	orDuration(&cfg.SessionTimeout, 10*time.Second)
	orDuration(&cfg.RebalanceBound, 30*time.Second)
	orDuration(&cfg.TxnTimeout, 60*time.Second)
	orDuration(&cfg.DrainTimeout, 20*time.Second)
	return nil
}

// Stage is one process's part in a stage: it is a member of the group and runs an owner for each number that it is given.
type Stage struct {
	c      *Client
	cfg    StageConfig
	topics []string // whose partitions the numbers are
	count  int      // numbers; set by Run before anything else is started
	m      *membership
	f      *fetcher

	mu     sync.Mutex // guards what follows
	owners map[int32]*ownership
	round  int // of the assignment that owners stands for
}

// ownership is a running owner as the stage sees it.
type ownership struct {
	owner  *owner
	cancel context.CancelFunc
	done   chan struct{}
	loaded atomic.Bool
}

// NewStage checks a configuration and makes a stage. It does no I/O.
func NewStage(c *Client, cfg StageConfig) (*Stage, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	s := &Stage{c: c, cfg: cfg, topics: cfg.Inputs, f: newFetcher(c), owners: map[int32]*ownership{}}
	if len(s.topics) == 0 {
		s.topics = []string{cfg.StateTopic}
	}
	s.m = newMembership(c, cfg, s.topics)
	return s, nil
}

// Run is NewStage followed by (*Stage).Run.
func Run(ctx context.Context, c *Client, cfg StageConfig) error {
	s, err := NewStage(c, cfg)
	if err != nil {
		return err
	}
	return s.Run(ctx)
}

// Ready says whether the process has joined the group and loaded every number that it was given.
func (s *Stage) Ready() bool {
	round := s.m.round()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.round == 0 || s.round != round {
		return false
	}
	for _, o := range s.owners {
		if !o.loaded.Load() {
			return false
		}
	}
	return true
}

// Run joins the group and processes until ctx ends, which is a graceful stop and no error, or until something is wrong that a human has to
// put right, which the error names. It may be called once.
func (s *Stage) Run(ctx context.Context) error {
	err := s.checkTopics(ctx)
	if err == nil {
		err = s.checkStatus(ctx)
	}
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("stage %s: %w", s.cfg.group(), withRight(err))
	}
	// Two contexts: taking ends with the signal and stops new batches; working outlives it by the drain time, for the transactions
	// that are under way and the membership that they are committed under.
	working, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)
	taking, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	fatal := func(err error) {
		if err != nil {
			fail(err)
			stop(err)
		}
	}
	var support sync.WaitGroup
	support.Go(func() { s.f.run(working) })
	support.Go(func() {
		if err := s.m.run(working); working.Err() == nil {
			fatal(err)
		}
	})
	support.Go(func() { fatal(s.watch(taking)) })

	s.supervise(taking, working, fatal)
	s.drain(stop)
	stop(nil)
	support.Wait()
	leave, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	s.m.leave(leave)
	if err := context.Cause(taking); err != nil && !errors.Is(err, context.Cause(ctx)) {
		return fmt.Errorf("stage %s: %w", s.cfg.group(), withRight(err))
	}
	return nil
}

// supervise starts and ends owners as the group assigns numbers, until taking ends.
func (s *Stage) supervise(taking, working context.Context, fatal func(error)) {
	round := 0
	for {
		numbers, next, err := s.m.assignment(taking, round)
		if err != nil {
			return
		}
		round = next
		s.release(numbers)
		s.mu.Lock()
		for _, n := range numbers {
			if s.owners[n] == nil {
				s.owners[n] = s.start(taking, working, n, fatal)
			}
		}
		s.round = round
		s.mu.Unlock()
	}
}

// start starts the owner of a number.
func (s *Stage) start(taking, working context.Context, n int32, fatal func(error)) *ownership {
	taking, cancelTaking := context.WithCancel(taking)
	working, cancelWorking := context.WithCancel(working)
	o := &ownership{done: make(chan struct{}), cancel: func() { cancelTaking(); cancelWorking() }}
	o.owner = &owner{s: s, number: n, log: s.c.log.With("stage", s.cfg.group(), "number", n), loaded: &o.loaded}
	go func() {
		defer close(o.done)
		defer o.cancel()
		if err := o.owner.run(taking, working); err != nil {
			fatal(fmt.Errorf("number %d: %w", n, err))
		}
	}()
	return o
}

// release ends the owners of numbers that are not among keep, and waits for them. Their open transactions are aborted by whoever gets
// the number next, at once.
func (s *Stage) release(keep []int32) {
	s.mu.Lock()
	var lost []*ownership
	for n, o := range s.owners {
		if !slices.Contains(keep, n) {
			lost = append(lost, o)
			delete(s.owners, n)
		}
	}
	s.mu.Unlock()
	for _, o := range lost {
		o.cancel()
	}
	for _, o := range lost {
		<-o.done
	}
}

// drain waits for the owners to finish their transactions, and after the drain time makes them give up.
func (s *Stage) drain(stop context.CancelCauseFunc) {
	late := time.AfterFunc(s.cfg.DrainTimeout, func() {
		s.c.log.Warn("a transaction did not end in time and is left to be aborted", "stage", s.cfg.group(), "elapsed", s.cfg.DrainTimeout)
		stop(context.DeadlineExceeded)
	})
	defer late.Stop()
	s.mu.Lock()
	owners := s.owners
	s.owners = map[int32]*ownership{}
	s.mu.Unlock()
	for _, o := range owners {
		<-o.done
	}
}

// watch measures lag, and looks from time to time whether the topics are still what they were.
func (s *Stage) watch(ctx context.Context) error {
	gauges := time.NewTicker(gaugesEvery)
	defer gauges.Stop()
	check := time.NewTicker(checkEvery)
	defer check.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-gauges.C:
			s.measure()
		case <-check.C:
			err := s.checkPresent(ctx)
			if err == nil {
				err = s.checkTopics(ctx)
			}
			if err != nil && ctx.Err() == nil {
				return err
			}
		}
	}
}

// checkPresent makes sure that no topic of the stage is gone or has grown. To wait for a topic to come back would make no sense: what lay on it is gone, and
// somebody has to find out why.
func (s *Stage) checkPresent(ctx context.Context) error {
	for deadline := time.Now().Add(topicPatience); ; {
		missing, err := s.c.missingTopics(ctx, s.cfg.Topics)
		if err != nil || len(missing) == 0 {
			return err
		}
		if time.Now().After(deadline) || !pause(ctx, maxBackoff) {
			names := make([]string, len(missing))
			for i, m := range missing {
				names[i] = m.Name
			}
			return fmt.Errorf("topics are gone that were there when the stage started: %s. What lay on them is gone too: find out who deleted them; then "+
				"create them (-topics prints the commands, a start does it if topics.create is on) and start again", strings.Join(names, ", "))
		}
	}
}

// checkTopics makes sure that all input topics, and the state topic, have one and the same partition count, the one of the start.
func (s *Stage) checkTopics(ctx context.Context) error {
	if s.cfg.StatusTopic != "" {
		if _, err := s.partitions(ctx, s.cfg.StatusTopic); err != nil {
			return err
		}
	}
	topics := slices.Clone(s.topics)
	if s.cfg.StateTopic != "" && !slices.Contains(topics, s.cfg.StateTopic) {
		topics = append(topics, s.cfg.StateTopic)
	}
	for i, t := range topics {
		n, err := s.partitions(ctx, t)
		if err != nil {
			return err
		}
		switch {
		case s.count == 0:
			s.count = n
		case n != s.count && i == 0:
			return fmt.Errorf("topic %s had %d partitions and has %d now: partition counts are for life, because keys stay with their "+
				"number in every topic and in the state; make new topics under another prefix, with the new count, and start there", t, s.count, n)
		case n != s.count:
			return fmt.Errorf("topics %s and %s have %d and %d partitions: all topics of a stage need the same count, because the owner of "+
				"a number reads that partition of each; recreate the one that is wrong while it is empty, or use another prefix",
				topics[0], t, s.count, n)
		}
	}
	return nil
}

// partitions is Client.Partitions with patience: a broker may hear of a new topic a moment after the one that made it.
func (s *Stage) partitions(ctx context.Context, topic string) (int, error) {
	var b backoff
	for deadline := time.Now().Add(topicPatience); ; {
		n, err := s.c.Partitions(ctx, topic)
		if !errors.Is(err, kafka.UnknownTopicOrPartition) || time.Now().After(deadline) || !b.wait(ctx, err) {
			return n, err
		}
	}
}

// Lag returns, for each input topic, how many offsets lie between what this process's numbers have taken and the end of the log, as
// of the last fetch. Markers and aborted records count.
func (s *Stage) Lag() map[string]int64 {
	lag := map[string]int64{}
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	for _, fd := range s.f.feeds {
		lag[fd.tp.topic] += max(0, fd.end-fd.taken)
	}
	return lag
}

func (s *Stage) measure() {
	stable := map[string]int64{}
	s.c.metrics.lag.DeletePartialMatch(prometheus.Labels{"stage": s.cfg.Name}) // of numbers that went elsewhere
	s.c.metrics.stableLag.DeletePartialMatch(prometheus.Labels{"stage": s.cfg.Name})
	for topic, n := range s.Lag() {
		s.c.metrics.lag.WithLabelValues(s.cfg.Name, topic).Set(float64(n))
		stable[topic] = 0
	}
	s.f.mu.Lock()
	for _, fd := range s.f.feeds {
		stable[fd.tp.topic] += max(0, fd.end-fd.stable)
	}
	s.f.mu.Unlock()
	for topic, n := range stable {
		s.c.metrics.stableLag.WithLabelValues(s.cfg.Name, topic).Set(float64(n))
	}
	loaded := 0
	s.mu.Lock()
	for _, o := range s.owners {
		if o.loaded.Load() {
			loaded++
		}
	}
	s.mu.Unlock()
	s.c.metrics.owned.WithLabelValues(s.cfg.Name).Set(float64(loaded))
}
