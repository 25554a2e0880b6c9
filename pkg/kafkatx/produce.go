package kafkatx

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	kafka "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/produce"
)

const (
	// rawBatchBytes bounds what is compressed into one batch.
	rawBatchBytes = 4 << 20

	// produceBytes bounds a request of more than one batch, far below what brokers refuse (socket.request.max.bytes, 100 MiB). What is more goes in others at the
	// same time. It is large because Apache Kafka refuses (19) the second of two requests whose transaction it has not verified yet.
	produceBytes = 32 << 20
)

// group is what a Produce call has for one partition: batches that are sent one after another.
type group struct {
	tp      topicPartition
	recs    []Record
	index   []int // of each of recs in the call
	done    int   // how many of recs are acknowledged
	batches []outBatch
	base    int64 // offset given to the first batch by the last try
	err     error // of the last try

	// What stays from call to call.
	memory   [][]byte // of batches
	used     int      // how much of memory is in use
	rawLimit int      // uncompressed size at which a batch is expected to reach the limit of its compressed size
}

// take returns an empty buffer.
func (g *group) take() []byte {
	if g.used == len(g.memory) {
		g.memory = append(g.memory, nil)
	}
	g.used++
	return g.memory[g.used-1][:0]
}

// keep remembers the grown form of the buffer that was taken last.
func (g *group) keep(buf []byte) { g.memory[g.used-1] = buf }

// outBatch is an encoded batch. It is sent any number of times, always the same bytes with the same sequence.
type outBatch struct {
	bytes    []byte
	count    int
	sequence int32
}

// release empties the groups of the last call. Their memory is used again, unless a request that was given up may still be about to be written from it.
func (p *Producer) release() {
	if p.suspect.Load() || len(p.groups) > 1024 {
		clear(p.groups)
		return
	}
	for tp, g := range p.groups {
		clear(g.recs)
		*g = group{tp: tp, recs: g.recs[:0], index: g.index[:0], memory: g.memory, rawLimit: g.rawLimit}
	}
}

// byPartition sorts records.
func (p *Producer) byPartition(recs []Record) []*group {
	var order []*group
	var g *group
	for i := range recs {
		tp := topicPartition{recs[i].Topic, recs[i].Partition}
		if g == nil || g.tp != tp {
			if g = p.groups[tp]; g == nil {
				g = &group{tp: tp, rawLimit: p.cfg.MaxBatchBytes}
				p.groups[tp] = g
			}
			if len(g.recs) == 0 {
				order = append(order, g)
			}
		}
		g.recs = append(g.recs, recs[i])
		g.index = append(g.index, i)
	}
	return order
}

// encodeWorth is how many records are worth another goroutine.
const encodeWorth = 100

// encode encodes the batches of n records in groups, on all processors.
func (p *Producer) encode(groups []*group, n int, now time.Time) error {
	var next atomic.Int32
	errs := make([]error, min(runtime.GOMAXPROCS(0), len(groups), 1+n/encodeWorth))
	var wg sync.WaitGroup
	for w := range errs {
		wg.Go(func() {
			for i := next.Add(1) - 1; int(i) < len(groups) && errs[w] == nil; i = next.Add(1) - 1 {
				errs[w] = p.encodeGroup(groups[i], now)
				runtime.Gosched() // the coordinator's answer would else wait for all of it
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (p *Producer) encodeGroup(g *group, now time.Time) error {
	seq := p.sequences[g.tp]
	for start := 0; start < len(g.recs); {
		n, size := 0, 0
		for start+n < len(g.recs) && (n == 0 || size+recordSize(&g.recs[start+n]) <= g.rawLimit) {
			size += recordSize(&g.recs[start+n])
			n++
		}
		var err error
		if g.batches, err = p.encodeBatches(g, g.batches, g.recs[start:start+n], now, seq); err != nil {
			return err
		}
		seq = advance(seq, n)
		start += n
	}
	return nil
}

// encodeBatches encodes records as one batch, or as several where one would be too large.
func (p *Producer) encodeBatches(g *group, out []outBatch, recs []Record, now time.Time, seq int32) ([]outBatch, error) {
	from := producerState{id: p.id, epoch: p.epoch, sequence: seq, transactional: true}
	b, raw, err := p.c.codecs.appendBatch(g.take(), p.kind, recs, now, from)
	g.keep(b)
	if err != nil {
		return nil, err
	}
	if len(b) > p.cfg.MaxBatchBytes && len(recs) > 1 {
		g.rawLimit = max(p.cfg.MaxBatchBytes/2, min(g.rawLimit, raw)/2)
		half := len(recs) / 2
		if out, err = p.encodeBatches(g, out, recs[:half], now, seq); err != nil {
			return nil, err
		}
		return p.encodeBatches(g, out, recs[half:], now, advance(seq, half))
	}
	if len(b) < p.cfg.MaxBatchBytes/2 && raw > g.rawLimit/2 {
		g.rawLimit = min(2*g.rawLimit, max(rawBatchBytes, p.cfg.MaxBatchBytes))
	}
	return append(out, outBatch{bytes: b, count: len(recs), sequence: seq}), nil
}

// advance adds to a sequence number, which wraps to 0 behind the largest int32.
func advance(seq int32, n int) int32 { return int32((uint32(seq) + uint32(n)) & 0x7fffffff) }

// deliver sends the batches of all groups, one batch of each at a time, until every one is acknowledged.
func (p *Producer) deliver(ctx context.Context, groups []*group, offsets []int64) error {
	var b backoff
	for {
		requests, waiting := p.requests(ctx, groups)
		if len(requests) == 0 && waiting == nil {
			return nil
		}
		var wg sync.WaitGroup
		for _, r := range requests[min(1, len(requests)):] {
			wg.Go(func() { r.send(ctx, p) })
		}
		if len(requests) > 0 {
			requests[0].send(ctx, p) // the usual case is one leader, and needs no goroutine
		}
		wg.Wait()
		progress := false
		for _, r := range requests {
			for _, g := range r.groups {
				ok, err := p.settle(g, offsets)
				if err != nil {
					return err
				}
				if progress = progress || ok; !ok {
					waiting = g.err
				}
			}
		}
		if progress {
			b = backoff{}
		}
		if waiting == nil {
			continue
		}
		p.c.metrics.retry("produce", waiting)
		if !b.wait(ctx, waiting) {
			return p.mark(fmt.Errorf("produce: %w; last error: %w", context.Cause(ctx), waiting))
		}
	}
}

// requests groups what is still to be sent by the leaders of this moment. It returns an error if some partition has no leader now.
func (p *Producer) requests(ctx context.Context, groups []*group) (out []*produceCall, waiting error) {
	last := map[int32]*produceCall{}
	for _, g := range groups {
		if len(g.batches) == 0 {
			continue
		}
		node, err := p.c.leader(ctx, g.tp.topic, g.tp.partition)
		if err != nil {
			waiting = err
			continue
		}
		r, size := last[node], len(g.batches[0].bytes)
		if r == nil || r.size+size > produceBytes {
			r = &produceCall{node: node}
			last[node] = r
			out = append(out, r)
		}
		r.groups = append(r.groups, g)
		r.size += size
	}
	return out, waiting
}

// produceCall is one produce request: a batch of each of some partitions with the same leader.
type produceCall struct {
	node   int32
	groups []*group
	size   int
}

// send sends the request once and leaves in each group what came of it.
func (r *produceCall) send(ctx context.Context, p *Producer) {
	byTP := make(map[topicPartition]*group, len(r.groups))
	parts := make([]topicPartition, len(r.groups))
	for i, g := range r.groups {
		parts[i] = g.tp
		byTP[g.tp] = g
		g.err = fmt.Errorf("topic %s, partition %d: no answer from broker %d", g.tp.topic, g.tp.partition, r.node)
	}
	req := &produceRequest{
		routed: routed{r.node}, TransactionalID: p.cfg.TransactionalID, Acks: -1, TimeoutMs: int32(requestTimeout.Milliseconds()),
		Topics: groupByTopic(parts, func(name string, ps []int32) produceTopic {
			t := produceTopic{Name: name}
			for _, q := range ps {
				t.Partitions = append(t.Partitions, producePartition{Index: q, Records: sizedBytes{byTP[topicPartition{name, q}].batches[0].bytes}})
			}
			return t
		}),
	}
	res, err := call[*produce.Response](ctx, p.c, 2*requestTimeout, req)
	if err != nil {
		for _, g := range r.groups {
			g.err = fmt.Errorf("broker %d: %w", r.node, err)
		}
		return
	}
	for _, t := range res.Topics {
		for _, q := range t.Partitions {
			if g := byTP[topicPartition{t.Topic, q.Partition}]; g != nil {
				g.answer(q.ErrorCode, q.BaseOffset)
			}
		}
	}
}

// answer notes the broker's answer to the first of the group's batches.
func (g *group) answer(code int16, base int64) {
	g.base, g.err = base, codeError(code)
	switch {
	case errors.Is(g.err, kafka.DuplicateSequenceNumber): // an earlier try was written, and its answer lost
		g.base, g.err = -1, nil
	case g.err != nil:
		g.err = fmt.Errorf("topic %s, partition %d: %w", g.tp.topic, g.tp.partition, g.err)
	}
}

// settle draws the conclusion from the last try of a group: an acknowledged batch is done with; one that may be sent again stays. An
// error means that the transaction is over.
func (p *Producer) settle(g *group, offsets []int64) (acked bool, err error) {
	first := g.batches[0]
	if g.err == nil {
		for i := range first.count {
			offsets[g.index[g.done+i]] = -1
			if g.base >= 0 {
				offsets[g.index[g.done+i]] = g.base + int64(i)
			}
		}
		p.sequences[g.tp] = advance(first.sequence, first.count)
		g.done += first.count
		g.batches = g.batches[1:]
		return true, nil
	}
	if lost(g.err) {
		p.suspect.Store(true)
	}
	p.c.layout.suspect(g.tp.topic)
	if errors.Is(g.err, kafka.MessageSizeTooLarge) || errors.Is(g.err, kafka.RecordListTooLarge) {
		if first.count == 1 {
			return false, &TooLargeError{Topic: g.tp.topic, Partition: g.tp.partition, Size: len(first.bytes), Records: 1}
		}
		return true, p.split(g)
	}
	if k := classify(g.err); k == classRetry || k == classBusy {
		return false, nil
	}
	return false, p.mark(fmt.Errorf("produce: %w", g.err))
}

// split replaces the first batch of a group, which the broker found too large, by two of half as many records.
func (p *Producer) split(g *group) error {
	first := g.batches[0]
	half := first.count / 2
	recs := g.recs[g.done : g.done+first.count]
	now := time.Now()
	out, err := p.encodeBatches(g, nil, recs[:half], now, first.sequence)
	if err == nil {
		out, err = p.encodeBatches(g, out, recs[half:], now, advance(first.sequence, half))
	}
	g.batches = append(out, g.batches[1:]...)
	g.rawLimit = max(p.cfg.MaxBatchBytes/8, g.rawLimit/2)
	return err
}
