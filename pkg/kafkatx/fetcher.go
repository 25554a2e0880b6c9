package kafkatx

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	kafka "github.com/segmentio/kafka-go"
)

const (
	// fetchesPerNode is how many fetches of what is there already may be under way at one broker: while one is decoded, another is answered.
	fetchesPerNode = 2

	// pollWait is how long the one fetch waits at a broker that carries all its partitions that have nothing to read. It is also the longest
	// that a partition goes unwatched which has been read to its end while that fetch was waiting.
	pollWait = 100 * time.Millisecond

	// maxBuffered bounds the records that are decoded and not yet taken, over all numbers of the process. A number that has nothing
	// buffered is fetched for even beyond it, so that none starves.
	maxBuffered = 48 << 20

	// fetchRetry is the pause before a partition is fetched again after an error.
	fetchRetry = 50 * time.Millisecond
)

// fetcher reads the input partitions of all numbers of a process: few requests for many partitions, decoded in parallel.
type fetcher struct {
	c        *Client
	pollWait time.Duration
	decode   chan struct{} // a slot for each decoder that may run at a time
	wake     chan struct{} // capacity 1: something may be fetchable

	mu       sync.Mutex // guards what follows and all fields of intakes and feeds
	feeds    []*feed
	buffered int
	turns    int          // counts answers that had something
	inflight map[line]int // requests under way
}

// line is a way to a broker. What has to be waited for goes its own, so that it never holds up what is there.
type line struct {
	node int32
	poll bool // for partitions that have been read to their end
}

// slots is how many requests may be under way.
func (l line) slots() int {
	if l.poll {
		return 1
	}
	return fetchesPerNode
}

// intake is what one number reads.
type intake struct {
	f      *fetcher
	limit  int           // bytes to buffer
	ready  chan struct{} // capacity 1: there may be something to take
	feeds  []*feed
	turn   int // the feed to take from first
	bytes  int
	err    error // final
	closed bool
}

// feed is one input partition of an intake.
type feed struct {
	in     *intake
	tp     topicPartition
	next   int64 // to fetch at
	end    int64 // last known high watermark
	stable int64 // last known last stable offset
	taken  int64 // the owner's position: everything before it was taken
	chunks []chunk
	quiet  bool      // the last answer left nothing to read
	busy   bool      // part of a request under way
	after  time.Time // no request before then
	served int       // turn of the last answer that had something
}

// chunk is the visible part of one fetch of one partition.
type chunk struct {
	recs []Record
	size int
	next int64 // position behind the chunk
}

func newFetcher(c *Client) *fetcher {
	return &fetcher{
		c: c, pollWait: pollWait, decode: make(chan struct{}, runtime.GOMAXPROCS(0)), wake: make(chan struct{}, 1), inflight: map[line]int{},
	}
}

func poke(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// open starts reading partitions at the given positions.
func (f *fetcher) open(at map[topicPartition]int64, limit int) *intake {
	in := &intake{f: f, limit: limit, ready: make(chan struct{}, 1)}
	f.mu.Lock()
	defer f.mu.Unlock()
	for tp, next := range at {
		in.feeds = append(in.feeds, &feed{in: in, tp: tp, next: next, taken: next, end: -1, stable: -1})
	}
	slices.SortFunc(in.feeds, func(a, b *feed) int { return compareTP(a.tp, b.tp) })
	f.feeds = append(f.feeds, in.feeds...)
	poke(f.wake)
	return in
}

func compareTP(a, b topicPartition) int {
	switch {
	case a.topic < b.topic:
		return -1
	case a.topic > b.topic:
		return 1
	}
	return int(a.partition) - int(b.partition)
}

// close ends the reading. What was taken stays valid.
func (in *intake) close() {
	f := in.f
	f.mu.Lock()
	defer f.mu.Unlock()
	in.closed = true
	f.buffered -= in.bytes
	f.c.metrics.buffered.Set(float64(f.buffered))
	f.feeds = slices.DeleteFunc(f.feeds, func(fd *feed) bool { return fd.in == in })
	poke(f.wake)
}

// bite is what is taken from an intake at a time.
type bite struct {
	recs []Record
	size int
	next map[topicPartition]int64 // positions behind it, of the partitions that moved
	more bool                     // there is more to take
}

// take removes up to the given numbers of records and bytes, at least one record if there is any. It does not block.
func (in *intake) take(maxRecords, maxBytes int) (bite, error) {
	in.f.mu.Lock()
	defer in.f.mu.Unlock()
	t := bite{next: map[topicPartition]int64{}}
	if in.err != nil {
		return t, in.err
	}
	n := 0
	for _, fd := range in.feeds {
		for i := range fd.chunks {
			n += len(fd.chunks[i].recs)
		}
	}
	t.recs = make([]Record, 0, min(n, maxRecords))
	for i := range in.feeds {
		in.feeds[(in.turn+i)%len(in.feeds)].takeInto(&t, maxRecords, maxBytes)
	}
	in.turn++
	in.bytes -= t.size
	in.f.buffered -= t.size
	in.f.c.metrics.buffered.Set(float64(in.f.buffered))
	t.more = in.bytes > 0
	poke(in.f.wake)
	return t, nil
}

func (fd *feed) takeInto(t *bite, maxRecords, maxBytes int) {
	for len(fd.chunks) > 0 {
		c := &fd.chunks[0]
		n := 0
		for ; n < len(c.recs); n++ {
			size := recordSize(&c.recs[n])
			if len(t.recs) > 0 && (len(t.recs) >= maxRecords || t.size+size > maxBytes) {
				break
			}
			t.recs = append(t.recs, c.recs[n])
			t.size += size
			c.size -= size
		}
		if n < len(c.recs) {
			c.recs = c.recs[n:]
			if n > 0 {
				fd.taken = c.recs[0].Offset
				t.next[fd.tp] = fd.taken
			}
			return
		}
		fd.taken = c.next
		t.next[fd.tp] = fd.taken
		fd.chunks = fd.chunks[1:]
	}
}

// run fetches until ctx ends, and returns when all requests have.
func (f *fetcher) run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		next := f.dispatch(ctx, &wg)
		timer.Reset(next)
		select {
		case <-ctx.Done():
			return
		case <-f.wake:
		case <-timer.C:
		}
	}
}

// dispatch starts a request for every broker that leads partitions which want one, and says when to look again.
func (f *fetcher) dispatch(ctx context.Context, wg *sync.WaitGroup) time.Duration {
	now := time.Now()
	soon := time.Minute
	f.mu.Lock()
	var ready []*feed
	for _, fd := range f.feeds {
		in := fd.in
		switch {
		case fd.busy, in.err != nil, in.bytes >= in.limit, f.buffered >= maxBuffered && in.bytes > 0:
		case now.Before(fd.after):
			soon = min(soon, fd.after.Sub(now))
		default:
			ready = append(ready, fd)
		}
	}
	f.mu.Unlock()
	byLine := map[line][]*feed{}
	for _, fd := range ready {
		node, err := f.c.leader(ctx, fd.tp.topic, fd.tp.partition)
		if err != nil {
			f.fail(ctx, fd, err)
			soon = min(soon, fetchRetry)
			continue
		}
		l := line{node, fd.quiet} // no one changes it while fd is not busy
		byLine[l] = append(byLine[l], fd)
	}
	for l, feeds := range byLine {
		f.mu.Lock()
		free := f.inflight[l] < l.slots()
		if free {
			f.inflight[l]++
			for _, fd := range feeds {
				fd.busy = true
			}
			// Who was served longest ago comes first: a broker fills an answer in the order of the request.
			slices.SortStableFunc(feeds, func(a, b *feed) int { return a.served - b.served })
		}
		f.mu.Unlock()
		if free {
			wg.Go(func() { f.request(ctx, l, feeds) })
		}
	}
	return soon
}

// request runs one fetch and hands its parts to their feeds.
func (f *fetcher) request(ctx context.Context, l line, feeds []*feed) {
	parts := make([]topicPartition, len(feeds))
	offsets := make([]int64, len(feeds))
	byTP := make(map[topicPartition]*feed, len(feeds))
	f.mu.Lock()
	for i, fd := range feeds {
		parts[i], offsets[i] = fd.tp, fd.next
		byTP[fd.tp] = fd
	}
	f.mu.Unlock()
	var wait time.Duration
	done := sync.OnceFunc(func() { f.done(l) })
	defer done()
	if l.poll {
		wait = f.pollWait
	}
	res, err := f.c.fetch(ctx, l.node, wait, parts, offsets)
	if !l.poll {
		done() // while a poll is decoded, none is under way, so that its partitions go into the next together
	}
	if err != nil {
		for _, fd := range feeds {
			f.fail(ctx, fd, err)
		}
		return
	}
	var wg sync.WaitGroup
	nothing := res.empty()
	for i := range res.Topics {
		for j := range res.Topics[i].Partitions {
			p := &res.Topics[i].Partitions[j]
			tp := topicPartition{res.Topics[i].Name, p.Index}
			fd := byTP[tp]
			delete(byTP, tp)
			switch {
			case fd == nil:
			case p.ErrorCode == 0 && len(p.Records.b) == 0:
				f.add(fd, p, chunk{next: -1}, nothing)
			case p.ErrorCode == 0:
				wg.Go(func() { f.unpack(fd, p) })
			default:
				err := fmt.Errorf("fetch topic %s, partition %d: %w", tp.topic, tp.partition, kafka.Error(p.ErrorCode))
				wg.Go(func() { f.fail(ctx, fd, err) })
			}
		}
	}
	for _, fd := range byTP { // left out, for want of room or because the broker throttles
		if nothing {
			f.fail(ctx, fd, kafka.ThrottlingQuotaExceeded)
		} else {
			f.again(fd)
		}
	}
	wg.Wait()
}

// done makes room for another request.
func (f *fetcher) done(l line) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.inflight[l]--
	poke(f.wake)
}

// unpack decodes one partition's part of an answer.
func (f *fetcher) unpack(fd *feed, p *fetchedPartition) {
	f.decode <- struct{}{}
	defer func() { <-f.decode }()
	f.mu.Lock()
	at := fd.next // no one else changes it while fd is busy
	f.mu.Unlock()
	recs, next, err := f.c.visible(fd.tp.topic, p, at)
	if err != nil {
		f.stop(fd, err)
		return
	}
	c := chunk{recs: recs, next: next}
	for i := range recs {
		c.size += recordSize(&recs[i])
	}
	f.add(fd, p, c, false)
}

// add appends a chunk to a feed; one with next -1 is empty. nothing says that the whole answer was: then it was not for want of room.
func (f *fetcher) add(fd *feed, p *fetchedPartition, c chunk, nothing bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fd.busy, fd.end, fd.stable = false, p.HighWatermark, p.LastStableOffset
	fd.quiet = nothing || max(fd.next, c.next) >= p.LastStableOffset
	defer poke(f.wake)
	if fd.in.closed || c.next < 0 {
		return
	}
	f.turns++
	fd.served = f.turns
	fd.next = max(fd.next, c.next)
	fd.chunks = append(fd.chunks, c)
	fd.in.bytes += c.size
	f.buffered += c.size
	f.c.metrics.buffered.Set(float64(f.buffered))
	poke(fd.in.ready)
}

// again lets a feed take part in the next request.
func (f *fetcher) again(fd *feed) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fd.busy = false
	poke(f.wake)
}

// fail decides what an error of one partition means.
func (f *fetcher) fail(ctx context.Context, fd *feed, err error) {
	if errors.Is(err, kafka.OffsetOutOfRange) {
		f.mu.Lock()
		want := fd.next
		f.mu.Unlock()
		var gone *OutOfRangeError
		if err := f.c.outOfRange(ctx, fd.tp.topic, fd.tp.partition, want); errors.As(err, &gone) {
			f.stop(fd, err)
			return
		}
	} else if classify(err) == classFatal {
		f.stop(fd, err)
		return
	}
	if ctx.Err() == nil {
		f.c.metrics.retry("fetch", err)
		f.c.layout.suspect(fd.tp.topic)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	fd.busy, fd.after = false, time.Now().Add(fetchRetry)
	poke(f.wake)
}

// stop ends an intake for good.
func (f *fetcher) stop(fd *feed, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fd.busy = false
	if fd.in.err == nil {
		fd.in.err = err
	}
	poke(fd.in.ready)
	poke(f.wake)
}
