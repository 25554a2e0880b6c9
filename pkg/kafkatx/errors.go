package kafkatx

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	kafka "github.com/segmentio/kafka-go"
)

var (
	// ErrFenced says that a newer owner with the same transactional id exists: nothing that this producer has not committed will
	// ever be visible.
	ErrFenced = errors.New("fenced: a newer producer with this transactional id exists")

	// ErrUnknownOutcome says that a transaction may or may not have been committed. Only the next InitProducerID of the same
	// transactional id settles it, so whoever gets this error drops everything that it knows and starts again there.
	ErrUnknownOutcome = errors.New("the outcome of the transaction is unknown")

	// ErrRefused says that the broker refused a part of the transaction, which has to be aborted and may be done again.
	ErrRefused = errors.New("the transaction was refused and has to be aborted")

	// ErrStaleMember says that the group no longer knows the member or its generation: the transaction has to be aborted, and may be
	// done again under the next generation if the number is still owned then.
	ErrStaleMember = errors.New("the group has moved on from this member's generation")
)

// TooLargeError says that the broker's limit for a topic is smaller than a record or a batch for it.
type TooLargeError struct {
	Topic     string
	Partition int32
	Size      int // of the compressed batch
	Records   int // in the batch
}

// Error implements error.
func (e *TooLargeError) Error() string {
	return fmt.Sprintf("topic %s, partition %d: the broker refuses a batch of %d bytes (%d records) as too large: raise the topic's "+
		"max.message.bytes (and the brokers' message.max.bytes, replica.fetch.max.bytes), or lower the stage's size limit",
		e.Topic, e.Partition, e.Size, e.Records)
}

// OutOfRangeError says that records were removed by retention, or the log cut, before they were read.
type OutOfRangeError struct {
	Topic     string
	Partition int32
	Want      int64 // the next offset that had to be read
	First     int64 // the first offset that there is
	Last      int64 // the high watermark
}

// Error implements error.
func (e *OutOfRangeError) Error() string {
	if e.Want > e.Last {
		return fmt.Sprintf("topic %s, partition %d: the next offset to read is %d but the log ends at %d: the topic was deleted and made "+
			"again, or the cluster lost acknowledged records. Find out which; then reset the group's offset of this partition by hand",
			e.Topic, e.Partition, e.Want, e.Last)
	}
	return fmt.Sprintf("topic %s, partition %d: offsets %d to %d (%d) were removed by retention before they were read. To accept that "+
		"loss, stop the stage, set the group's offset of this partition to %d (kafka-consumer-groups --reset-offsets --to-earliest) and "+
		"start again; to keep more, raise retention.ms", e.Topic, e.Partition, e.Want, e.First-1, e.First-e.Want, e.First)
}

// permanentError takes an error out of what is tried again.
type permanentError struct{ err error }

func (e permanentError) Error() string { return e.err.Error() }
func (e permanentError) Unwrap() error { return e.err }

// permanentIfUnknown makes the lack of a topic final, where waiting for it to appear makes no sense.
func permanentIfUnknown(err error) error {
	if errors.Is(err, kafka.UnknownTopicOrPartition) {
		return permanentError{err}
	}
	return err
}

// class is what an error means to the one who gets it.
type class int

const (
	classRetry  class = iota // the same request may be sent again
	classBusy                // 51: the same, and it will not take long
	classAbort               // the transaction has to be aborted and may be done again
	classMember              // abort; the member's generation is over
	classFenced              // the producer is dead
	classFatal               // a human has to act
)

// classify says what an error from a broker, or from the way to it, means. Errors that carry no code are transport errors: the request may
// have been carried out, and sending it again is safe for every request of this package (see docs/exactly-once.md).
func classify(err error) class {
	var code kafka.Error
	if _, final := errors.AsType[permanentError](err); final {
		return classFatal
	}
	if !errors.As(err, &code) {
		return classRetry
	}
	switch int(code) {
	case 51: // CONCURRENT_TRANSACTIONS: the markers of the last transaction are still being written
		return classBusy
	case -1, // UNKNOWN_SERVER_ERROR
		2,       // CORRUPT_MESSAGE: damaged on the way
		3, 5, 6, // no such topic or partition (yet), no leader, not the leader
		7, 8, 9, 13, // timed out, broker or replica not available, network
		14, 15, 16, // coordinator loading, not available, not the coordinator
		19, 20, // not enough replicas in sync
		41,     // not the controller
		56,     // KAFKA_STORAGE_ERROR: this log directory is gone, another replica takes over
		70, 71, // fetch sessions, which we do not use
		74, 75, 76, // leader epochs, unknown compression while a broker is upgraded
		78, 88, 89, 100: // offset not available, unstable offset commit, throttled, unknown topic id
		return classRetry
	case 22, 25, 27, 79, 82: // generation, member, rebalance, member id required, fenced instance
		return classMember
	case 10, 18, // too large
		45, 59, // out of order sequence, unknown producer id: the log's memory of us expired
		48,      // INVALID_TXN_STATE: there is no such transaction, e.g. it timed out
		55, 120: // operation not attempted, TRANSACTION_ABORTABLE
		return classAbort
	case 46: // DUPLICATE_SEQUENCE_NUMBER is success wherever it can happen
		return classRetry
	case 47, 49, 90: // invalid epoch, invalid producer id mapping, producer fenced
		return classFenced
	}
	// Authorization, authentication, unsupported version, invalid request, invalid record (87: no key on a compacted topic), and
	// anything unheard of.
	return classFatal
}

// withRight adds to an authorizer's refusal which right is missing; the error itself names the topic, group or transactional id.
func withRight(err error) error {
	var code kafka.Error
	if !errors.As(err, &code) {
		return err
	}
	right := ""
	switch code {
	case kafka.TopicAuthorizationFailed:
		right = "Read on the topics that it reads (inputs, state, status), Write on those that it writes (outputs, state, status) and Create on those that are missing"
	case kafka.GroupAuthorizationFailed:
		right = "Read on the group"
	case kafka.TransactionalIDAuthorizationFailed:
		right = "Write and Describe on the transactional id"
	default:
		return err
	}
	return fmt.Errorf("%w: this user needs %s: grant it and start again (-topics prints the commands)", err, right)
}

// lost says whether err leaves open if the request was carried out.
func lost(err error) bool {
	var code kafka.Error
	return !errors.As(err, &code) || code == kafka.Unknown || code == kafka.RequestTimedOut || code == kafka.NetworkException || code == kafka.NotEnoughReplicasAfterAppend
}

// codeError is nil for code 0.
func codeError(code int16) error {
	if code == 0 {
		return nil
	}
	return kafka.Error(code)
}

// Backoff bounds: 51 goes away within milliseconds; everything else is worth a little patience.
const (
	busyBackoff  = time.Millisecond
	maxBusy      = 50 * time.Millisecond
	firstBackoff = 5 * time.Millisecond
	maxBackoff   = 500 * time.Millisecond
)

// backoff grows from try to try. Its zero value is ready for use.
type backoff struct{ next time.Duration }

// wait sleeps for the next interval and reports whether ctx is still alive.
func (b *backoff) wait(ctx context.Context, err error) bool {
	first, most := firstBackoff, maxBackoff
	if classify(err) == classBusy {
		first, most = busyBackoff, maxBusy
	}
	b.next = min(max(first, b.next), most)
	ok := pause(ctx, b.next)
	b.next *= 2
	return ok
}

// complainAfter is how long something may hang before it is logged, and how often it is then.
const complainAfter = 10 * time.Second

// patience tells an operator what is being waited for when that takes long. Its first call starts the clock.
type patience struct {
	log  *slog.Logger
	next time.Time
}

func (p *patience) complain(what string, facts ...any) {
	now := time.Now()
	if p.next.IsZero() {
		p.next = now.Add(complainAfter)
	}
	if now.After(p.next) {
		p.log.Warn(what, facts...) //nolint:sloglint // what is a constant at every call
		p.next = now.Add(complainAfter)
	}
}

// pause waits for d and reports whether ctx is still alive.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return ctx.Err() == nil
	}
}
