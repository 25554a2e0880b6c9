package kafkatx

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// ProducerConfig describes a transactional producer.
type ProducerConfig struct {
	TransactionalID string
	Timeout         time.Duration // after which the broker aborts a transaction that nobody ends; default 60 s
	Codec           string        // none, gzip, snappy, lz4, zstd; default zstd
	MaxBatchBytes   int           // compressed size of a batch of more than one record; default 900 KiB, below Kafka's default limit
}

// GroupSession is a membership in a consumer group, under which offsets are committed.
type GroupSession struct {
	Group      string
	Member     string
	Generation int32
}

// Offset is a position to commit: the offset of the next record to read.
type Offset struct {
	Topic     string
	Partition int32
	Next      int64
}

// Producer is a transactional producer: Init once, then any number of transactions, each of which is Produce and SendOffsets calls
// followed by Commit or Abort; the first of them opens it. It is not safe for concurrent use.
//
// Whenever an answer was lost, the next transaction begins with a new epoch (KIP-360), so that a request that is still on its way
// somewhere cannot take part in a transaction that it does not belong to.
type Producer struct {
	c    *Client
	cfg  ProducerConfig
	kind codec

	id          int64
	epoch       int16
	sequences   map[topicPartition]int32 // of the next record, for the current epoch
	open        bool                     // the coordinator may know of a transaction of ours
	suspect     atomic.Bool              // an answer was lost, or a sequence refused, in this epoch
	added       map[topicPartition]struct{}
	group       string                    // whose offsets are part of the open transaction
	coordinator int32                     // of the group, the one that acknowledged offsets last
	groups      map[topicPartition]*group // by partition, for the memory that they have
}

// NewProducer makes a producer. It does no I/O.
func (c *Client) NewProducer(cfg ProducerConfig) (*Producer, error) {
	kind, err := parseCodec(cfg.Codec)
	if err != nil {
		return nil, err
	}
	if cfg.TransactionalID == "" {
		return nil, errors.New("producer: no transactional id")
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 60 * time.Second
	}
	if cfg.MaxBatchBytes <= 0 {
		cfg.MaxBatchBytes = 900 << 10
	}
	return &Producer{
		c: c, cfg: cfg, kind: kind, id: -1, epoch: -1,
		sequences: map[topicPartition]int32{}, added: map[topicPartition]struct{}{}, groups: map[topicPartition]*group{},
	}, nil
}

// Init fences every other producer with the same transactional id and aborts what it left open. It returns when that is done.
func (p *Producer) Init(ctx context.Context) error {
	return p.init(ctx, -1, -1)
}

// bump gets the next epoch for the same incarnation. Unlike Init it fails if someone has fenced us. Apache Kafka sees to that; whether it
// did shows in the epoch, too, and a broker that is more generous must not bring a producer back that was rightly replaced.
func (p *Producer) bump(ctx context.Context) error {
	id, epoch := p.id, p.epoch
	if err := p.init(ctx, id, epoch); err != nil {
		return err
	}
	if exhausted := epoch >= math.MaxInt16-1; p.id == id && p.epoch != epoch+1 || p.id != id && !exhausted {
		err := fmt.Errorf("%w: the epoch went from %d/%d to %d/%d", ErrFenced, id, epoch, p.id, p.epoch)
		p.id, p.epoch = id, epoch // the broker will refuse whatever is tried with it
		return err
	}
	return nil
}

func (p *Producer) init(ctx context.Context, id int64, epoch int16) error {
	var res *initProducerResponse
	err := p.c.retry(ctx, "init_producer "+p.cfg.TransactionalID, func() error {
		return p.atCoordinator(ctx, func(node int32) (err error) {
			res, err = call[*initProducerResponse](ctx, p.c, requestTimeout, &initProducerRequest{
				routed: routed{node}, TransactionalID: p.cfg.TransactionalID, TimeoutMs: int32(p.cfg.Timeout.Milliseconds()),
				ProducerID: id, ProducerEpoch: epoch,
			})
			if err != nil {
				return err
			}
			return codeError(res.ErrorCode)
		})
	})
	if err != nil {
		return p.mark(err)
	}
	p.id, p.epoch = res.ProducerID, res.ProducerEpoch
	p.open = false
	p.suspect.Store(false)
	clear(p.sequences)
	p.reset()
	return nil
}

func (p *Producer) reset() {
	clear(p.added)
	p.group = ""
}

// atCoordinator calls f at the transaction coordinator and remembers if its answer was lost.
func (p *Producer) atCoordinator(ctx context.Context, f func(node int32) error) error {
	return p.c.atCoordinator(ctx, 1, p.cfg.TransactionalID, func(node int32) error {
		return p.watch(f(node))
	})
}

// watch remembers that an answer was lost.
func (p *Producer) watch(err error) error {
	if err != nil && lost(err) {
		p.suspect.Store(true)
	}
	return err
}

// mark adds to an error the sentinel that says what has to be done.
func (p *Producer) mark(err error) error {
	switch classify(err) {
	case classFenced:
		return fmt.Errorf("%w: %w", ErrFenced, err)
	case classMember:
		return fmt.Errorf("%w: %w", ErrStaleMember, err)
	case classAbort, classRetry, classBusy: // the last two: given up because the context ended
		p.suspect.Store(true) // a new epoch also starts new sequences, where a broker has forgotten ours
		return fmt.Errorf("%w: %w", ErrRefused, err)
	case classFatal:
	}
	return err
}

// begin makes sure that a transaction can be opened.
func (p *Producer) begin(ctx context.Context) error {
	if p.id < 0 {
		return errors.New("producer used before Init")
	}
	if p.open || !p.suspect.Load() {
		return nil
	}
	return p.bump(ctx)
}

// Produce writes records into the open transaction and waits until all are acknowledged. It returns their offsets in the same order;
// -1 stands for a record that is known to be written but whose offset the broker did not repeat.
func (p *Producer) Produce(ctx context.Context, recs []Record) ([]int64, error) {
	return p.ProduceAndSend(ctx, recs, GroupSession{}, nil)
}

// probe asks, by a transaction that nobody will ever see, where things stand: the offsets that it returns lie behind everything committed so far, and the
// group's coordinator that it leaves in p.coordinator knows everything committed so far. The answer to a mere question is not enough: a broker that was
// stopped, and replaced meanwhile, goes on believing that it leads for a moment, and names the end of the log, or positions, as they were before. An
// acknowledgement takes the other replicas, and those know.
func (p *Producer) probe(ctx context.Context, recs []Record, s GroupSession, offsets []Offset) ([]int64, error) {
	at, err := p.ProduceAndSend(ctx, recs, s, offsets)
	if err != nil {
		return nil, err
	}
	if err := p.Abort(ctx); err != nil {
		return nil, err
	}
	if slices.Contains(at, -1) {
		return nil, fmt.Errorf("%w: an answer was lost, and with it the end of a log", ErrRefused)
	}
	return at, nil
}

// SendOffsets makes consumer offsets part of the transaction, under the membership of s: they take effect if the transaction is
// committed, and the group's coordinator refuses them (ErrStaleMember) if the group has moved on.
func (p *Producer) SendOffsets(ctx context.Context, s GroupSession, offsets []Offset) error {
	_, err := p.ProduceAndSend(ctx, nil, s, offsets)
	return err
}

// ProduceAndSend is Produce and SendOffsets at the same time.
func (p *Producer) ProduceAndSend(ctx context.Context, recs []Record, s GroupSession, offsets []Offset) ([]int64, error) {
	if len(recs) == 0 && len(offsets) == 0 {
		return nil, nil
	}
	if err := p.begin(ctx); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
	defer cancel()
	defer p.release()
	groups := p.byPartition(recs)
	encoded := make(chan error)
	go func() { encoded <- p.encode(groups, len(recs), time.Now()) }()
	// The coordinator takes one change of a transaction at a time; partitions come first, then the two ways part.
	err := p.addPartitions(ctx, groups)
	if err := errors.Join(err, <-encoded); err != nil {
		return nil, err
	}
	at := make([]int64, len(recs))
	if len(recs) == 0 {
		return at, p.sendOffsets(ctx, s, offsets)
	}
	if len(offsets) == 0 {
		return at, p.deliver(ctx, groups, at)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	var once sync.Once
	end := func(failed error) {
		if failed != nil {
			once.Do(func() { err = failed }) // the reason; the other way ends for no reason of its own
			stop()
		}
	}
	wg.Go(func() { end(p.sendOffsets(ctx, s, offsets)) })
	end(p.deliver(ctx, groups, at))
	wg.Wait()
	return at, err
}

// addPartitions makes partitions part of the transaction, as has to happen before they are written to.
func (p *Producer) addPartitions(ctx context.Context, groups []*group) error {
	var missing []topicPartition
	for _, g := range groups {
		if _, ok := p.added[g.tp]; !ok {
			missing = append(missing, g.tp)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	topics := groupByTopic(missing, func(name string, ps []int32) addPartitionsTopic {
		return addPartitionsTopic{Name: name, Partitions: ps}
	})
	p.open = true // from the moment of sending
	err := p.c.retry(ctx, "add_partitions "+p.cfg.TransactionalID, func() error {
		return p.atCoordinator(ctx, func(node int32) error {
			res, err := call[*addPartitionsResponse](ctx, p.c, requestTimeout, &addPartitionsRequest{
				routed: routed{node}, TransactionalID: p.cfg.TransactionalID, ProducerID: p.id, ProducerEpoch: p.epoch, Topics: topics,
			})
			if err != nil {
				return err
			}
			return firstError(res.Topics)
		})
	})
	if err != nil {
		return p.mark(err)
	}
	for _, tp := range missing {
		p.added[tp] = struct{}{}
	}
	return nil
}

// firstError returns the gravest error of an answer by partition: one that must not be tried again before one that may be.
func firstError(topics []addedPartitionTopic) error {
	var worst error
	for _, t := range topics {
		for _, q := range t.Partitions {
			err := codeError(q.ErrorCode)
			if err == nil || q.ErrorCode == 55 { // not attempted, because of another partition's error
				continue
			}
			if worst == nil || classify(err) > classify(worst) {
				worst = fmt.Errorf("topic %s, partition %d: %w", t.Name, q.Index, err)
			}
		}
	}
	return worst
}

// sendOffsets makes the group part of the transaction and then sends it the offsets.
func (p *Producer) sendOffsets(ctx context.Context, s GroupSession, offsets []Offset) error {
	if p.group != s.Group {
		p.open = true
		err := p.c.retry(ctx, "add_offsets "+p.cfg.TransactionalID, func() error {
			return p.atCoordinator(ctx, func(node int32) error {
				res, err := call[*addOffsetsResponse](ctx, p.c, requestTimeout, &addOffsetsRequest{
					routed: routed{node}, TransactionalID: p.cfg.TransactionalID, ProducerID: p.id, ProducerEpoch: p.epoch, GroupID: s.Group,
				})
				if err != nil {
					return err
				}
				return codeError(res.ErrorCode)
			})
		})
		if err != nil {
			return p.mark(err)
		}
		p.group = s.Group
	}
	return p.commitOffsets(ctx, s, offsets)
}

func (p *Producer) commitOffsets(ctx context.Context, s GroupSession, offsets []Offset) error {
	next := make(map[topicPartition]int64, len(offsets))
	parts := make([]topicPartition, len(offsets))
	for i, o := range offsets {
		parts[i] = topicPartition{o.Topic, o.Partition}
		next[parts[i]] = o.Next
	}
	topics := groupByTopic(parts, func(name string, ps []int32) txnOffsetsTopic {
		t := txnOffsetsTopic{Name: name}
		for _, q := range ps {
			t.Partitions = append(t.Partitions, txnOffset{Index: q, Offset: next[topicPartition{name, q}], LeaderEpoch: -1})
		}
		return t
	})
	err := p.c.retry(ctx, "commit_offsets "+s.Group, func() error {
		return p.c.atCoordinator(ctx, 0, s.Group, func(node int32) error {
			res, err := call[*txnOffsetCommitResponse](ctx, p.c, requestTimeout, &txnOffsetCommitRequest{
				routed: routed{node}, TransactionalID: p.cfg.TransactionalID, GroupID: s.Group, ProducerID: p.id, ProducerEpoch: p.epoch,
				GenerationID: s.Generation, MemberID: s.Member, Topics: topics,
			})
			if err != nil {
				return p.watch(err)
			}
			p.coordinator = node
			return p.watch(firstError(res.Topics))
		})
	})
	if err != nil {
		return p.mark(err)
	}
	return nil
}

// Commit commits the open transaction; without one it does nothing. nil: everything in it is visible, now or in a moment. ErrRefused:
// nothing is, abort. ErrFenced, ErrUnknownOutcome: see there. After any other error nothing is visible, and will not be.
func (p *Producer) Commit(ctx context.Context) error {
	if !p.open {
		return nil
	}
	unanswered := false
	err := p.c.retry(ctx, "commit "+p.cfg.TransactionalID, func() error {
		err := p.end(ctx, true)
		unanswered = unanswered || err != nil && lost(err)
		return err
	})
	switch {
	case err == nil:
		p.open = false
		p.reset()
		return nil
	case unanswered: // one of the tries may have succeeded, whatever was said to the others
		return fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
	}
	return p.mark(err)
}

// Abort aborts the open transaction; without one it does nothing. If it fails, Init or another producer's Init does it.
func (p *Producer) Abort(ctx context.Context) error {
	if !p.open {
		return nil
	}
	err := p.c.retry(ctx, "abort "+p.cfg.TransactionalID, func() error { return p.end(ctx, false) })
	switch {
	case err == nil:
		p.open = false
		p.reset()
		return nil
	case classify(err) == classAbort: // no transaction of that kind there: a new epoch leaves no doubt
		return p.bump(ctx)
	}
	return p.mark(err)
}

func (p *Producer) end(ctx context.Context, commit bool) error {
	return p.atCoordinator(ctx, func(node int32) error {
		res, err := call[*endTxnResponse](ctx, p.c, requestTimeout, &endTxnRequest{
			routed: routed{node}, TransactionalID: p.cfg.TransactionalID, ProducerID: p.id, ProducerEpoch: p.epoch, Commit: commit,
		})
		if err != nil {
			return err
		}
		return codeError(res.ErrorCode)
	})
}
