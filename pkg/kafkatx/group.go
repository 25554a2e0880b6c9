package kafkatx

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	kafka "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/joingroup"
	"github.com/segmentio/kafka-go/protocol/leavegroup"
	"github.com/segmentio/kafka-go/protocol/syncgroup"
)

// consumerProtocol is the protocol type of groups of consumers.
const consumerProtocol = "consumer"

// membership keeps a process in its group. A rebalance does not interrupt the owners: each goes on under the old generation until the
// group refuses that, and what decides is the transactional id that the next owner of a number fences.
type membership struct {
	c         *Client
	group     string
	topics    []string
	protocol  string
	session   time.Duration
	rebalance time.Duration
	beatNow   chan struct{} // capacity 1: a heartbeat is wanted at once

	mu      sync.Mutex // guards what follows
	now     GroupSession
	settled bool      // now is what owners may commit under
	beat    time.Time // when the last successful heartbeat was sent
	numbers []int32   // of the last assignment
	rounds  int       // assignments so far
	changed chan struct{}
}

func newMembership(c *Client, cfg StageConfig, topics []string) *membership {
	return &membership{
		c: c, group: cfg.group(), topics: topics, protocol: protocolName(topics, cfg.Layout), session: cfg.SessionTimeout,
		rebalance: cfg.RebalanceBound, beatNow: make(chan struct{}, 1), changed: make(chan struct{}),
		now: GroupSession{Group: cfg.group(), Generation: -1},
	}
}

// update changes the guarded fields and wakes those who wait for a change.
func (m *membership) update(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
	close(m.changed)
	m.changed = make(chan struct{})
}

// await blocks until ok, called with the lock held, is true.
func (m *membership) await(ctx context.Context, ok func() bool) error {
	for {
		m.mu.Lock()
		done, changed := ok(), m.changed
		m.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// current returns the membership to commit under, waiting while a rebalance is being settled.
func (m *membership) current(ctx context.Context) (GroupSession, error) {
	var s GroupSession
	err := m.await(ctx, func() bool {
		s = m.now
		return m.settled
	})
	return s, err
}

// confirm waits until a heartbeat that was sent after now has been answered well: whoever then still owns a number owns it.
func (m *membership) confirm(ctx context.Context) error {
	since := time.Now()
	select {
	case m.beatNow <- struct{}{}:
	default:
	}
	return m.await(ctx, func() bool { return m.settled && m.beat.After(since) })
}

// assignment waits for an assignment after the given round.
func (m *membership) assignment(ctx context.Context, after int) (numbers []int32, round int, err error) {
	err = m.await(ctx, func() bool {
		numbers, round = m.numbers, m.rounds
		return round > after
	})
	return numbers, round, err
}

// round counts the assignments so far.
func (m *membership) round() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rounds
}

// run stays in the group until ctx ends or something is wrong for good. It does not leave.
func (m *membership) run(ctx context.Context) error {
	for {
		if err := m.join(ctx); err != nil {
			return err
		}
		if err := m.heartbeats(ctx); err != nil {
			return err
		}
	}
}

// join joins the group until an assignment is there.
func (m *membership) join(ctx context.Context) error {
	var b backoff
	for {
		err := m.joinOnce(ctx)
		var code kafka.Error
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case !errors.As(err, &code):
		case code == kafka.MemberIDRequired: // the id was noted: join with it
			continue
		case code == kafka.UnknownMemberId, code == kafka.FencedInstanceID:
			m.update(func() { m.now.Member, m.settled = "", false })
		case code == kafka.InconsistentGroupProtocol:
			return fmt.Errorf("group %s: a member with other input topics or another state layout is in the group (this one is %q): stop "+
				"all members of the old kind before the first of the new kind is started: %w", m.group, m.protocol, err)
		case code == kafka.InvalidSessionTimeout:
			return fmt.Errorf("group %s: session timeout %v is outside the broker's group.min.session.timeout.ms and "+
				"group.max.session.timeout.ms: %w", m.group, m.session, err)
		case classify(err) == classFatal:
			return fmt.Errorf("group %s: %w", m.group, err)
		}
		m.c.metrics.retry("join", err)
		if !b.wait(ctx, err) {
			return ctx.Err()
		}
	}
}

func (m *membership) joinOnce(ctx context.Context) error {
	m.mu.Lock()
	s := m.now
	own := claim{generation: s.Generation, owned: m.numbers}
	m.mu.Unlock()
	res, err := call[*joingroup.Response](ctx, m.c, m.rebalance+requestTimeout, &joingroup.Request{
		GroupID: m.group, SessionTimeoutMS: int32(m.session.Milliseconds()), RebalanceTimeoutMS: int32(m.rebalance.Milliseconds()),
		MemberID: s.Member, ProtocolType: consumerProtocol,
		Protocols: []joingroup.RequestProtocol{{Name: m.protocol, Metadata: encodeClaim(m.topics, own)}},
	})
	if err != nil {
		return fmt.Errorf("join group: %w", err)
	}
	if err := codeError(res.ErrorCode); err != nil {
		if errors.Is(err, kafka.MemberIDRequired) {
			m.update(func() { m.now.Member = res.MemberID })
		}
		return fmt.Errorf("join group: %w", err)
	}
	s.Member, s.Generation = res.MemberID, res.GenerationID
	m.update(func() { m.now, m.settled = s, false })
	var shares []syncgroup.RequestAssignment
	if res.LeaderID == res.MemberID {
		if shares, err = m.share(ctx, res.Members); err != nil {
			return err
		}
	}
	return m.sync(ctx, s, shares)
}

// share is the leader's task: it gives every member its numbers.
func (m *membership) share(ctx context.Context, members []joingroup.ResponseMember) ([]syncgroup.RequestAssignment, error) {
	count, err := m.c.Partitions(ctx, m.topics[0])
	if err != nil {
		return nil, err
	}
	claims := make([]claim, len(members))
	for i, member := range members {
		if claims[i], err = decodeClaim(member.MemberID, member.Metadata); err != nil {
			return nil, err
		}
	}
	var shares []syncgroup.RequestAssignment
	for member, numbers := range assign(claims, count) {
		shares = append(shares, syncgroup.RequestAssignment{MemberID: member, Assignment: encodeAssignment(m.topics, numbers)})
	}
	return shares, nil
}

func (m *membership) sync(ctx context.Context, s GroupSession, shares []syncgroup.RequestAssignment) error {
	res, err := call[*syncgroup.Response](ctx, m.c, m.rebalance+requestTimeout, &syncgroup.Request{
		GroupID: m.group, GenerationID: s.Generation, MemberID: s.Member, ProtocolType: consumerProtocol, ProtocolName: m.protocol,
		Assignments: shares,
	})
	if err == nil {
		err = codeError(res.ErrorCode)
	}
	if err != nil {
		return fmt.Errorf("sync group: %w", err)
	}
	numbers, err := decodeAssignment(res.Assignments)
	if err != nil {
		return fmt.Errorf("sync group: %w", err)
	}
	slices.Sort(numbers)
	m.c.log.Info("assigned numbers", "group", m.group, "generation", s.Generation, "numbers", numbers)
	m.update(func() {
		m.settled, m.numbers, m.beat = true, numbers, time.Now()
		m.rounds++
	})
	return nil
}

// heartbeats keeps the membership alive until the group wants its members to join again (nil) or ctx ends.
func (m *membership) heartbeats(ctx context.Context) error {
	interval := m.session / 5
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		case <-m.beatNow:
		}
		m.mu.Lock()
		s := m.now
		m.mu.Unlock()
		sent := time.Now()
		err := m.c.atCoordinator(ctx, 0, m.group, func(node int32) error {
			res, err := call[*heartbeatResponse](ctx, m.c, m.session/2, &heartbeatRequest{
				routed: routed{node}, GroupID: m.group, GenerationID: s.Generation, MemberID: s.Member,
			})
			if err != nil {
				return err
			}
			return codeError(res.ErrorCode)
		})
		switch {
		case err == nil:
			m.update(func() { m.beat = sent })
		case errors.Is(err, kafka.RebalanceInProgress):
			return nil // the generation is good until the others have joined
		case classify(err) == classMember:
			m.update(func() {
				m.settled = false
				if !errors.Is(err, kafka.IllegalGeneration) {
					m.now.Member = ""
				}
			})
			return nil
		case classify(err) == classFatal && ctx.Err() == nil:
			return fmt.Errorf("group %s: heartbeat: %w", m.group, err)
		default: // the next one comes soon; sooner, when there is something to find out
			m.c.metrics.retry("heartbeat", err)
			if !pause(ctx, min(interval/4, maxBackoff)) {
				return ctx.Err()
			}
			select {
			case m.beatNow <- struct{}{}:
			default:
			}
		}
	}
}

// leave tells the group that its numbers are free, so that the others need not wait for the session to end.
func (m *membership) leave(ctx context.Context) {
	m.mu.Lock()
	s := m.now
	m.mu.Unlock()
	if s.Member == "" {
		return
	}
	res, err := call[*leavegroup.Response](ctx, m.c, requestTimeout, &leavegroup.Request{
		GroupID: m.group, Members: []leavegroup.RequestMember{{MemberID: s.Member}},
	})
	if err == nil {
		err = codeError(res.ErrorCode)
	}
	if err != nil {
		m.c.log.Info("could not leave the group; it will notice", "group", m.group, "err", err)
	}
}
