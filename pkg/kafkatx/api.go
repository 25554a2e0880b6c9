// Package kafkatx consumes, processes and produces on Apache Kafka exactly once, over segmentio/kafka-go's transport.
package kafkatx

import (
	"context"
	"time"
)

// Header is one header of a record. Keys may repeat; order is kept.
type Header struct {
	Key   string
	Value []byte
}

// Record is one Kafka record, read or to be written. Key and Value of a record that was read alias the fetch buffer: they stay
// valid for as long as they are referenced and must not be written to.
type Record struct {
	Topic     string
	Partition int32
	Offset    int64     // set on records that were read; ignored on records to be written
	Time      time.Time // zero on a record to be written = the owner's clock at the time of the transaction
	Key       []byte    // nil is Kafka's null key
	Value     []byte    // nil is a tombstone
	Headers   []Header
}

// Change is what a batch would alter in a handler's memory: an overlay that no one but its own batch sees until it is merged.
// Exactly one of Merge and Discard is called for each Change that was handed out, always on the owner's goroutine.
type Change interface {
	Merge()   // the transaction is known to be committed
	Discard() // it is known to be aborted, or its outcome is unknown and the whole handler is about to be dropped
}

// Result is what one batch turns into: everything in it becomes visible in one transaction together with the input offsets.
type Result struct {
	Outputs []Record // any topics and partitions; dead letters are outputs like any other
	// Follow, if set, is called once the broker has acknowledged Outputs, with the offset given to each of them (same order).
	// The records that it returns join the same transaction. This is how a ledger can name the offsets of what it describes.
	Follow func(offsets []int64) []Record
	State  []Record // appended to the state topic's partition of this number (Topic and Partition are filled in)
	Change Change   // nil = no memory to alter
}

// Handler is what a stage does for one number. All methods are called from the number's owner goroutine, never concurrently.
// A Handler is also a Processor (if the stage has input topics) or a Feeder (if it has none).
type Handler interface {
	// Load is called for each committed record of the state partition, oldest first, before the first batch.
	Load(r Record) error
	// Close ends what the handler started. It is called when the number is lost or the process stops.
	Close()
}

// Processor is a Handler for a stage that consumes input topics. Process must be a pure function of the batch and of the memory
// that the handler had when it was called; what it would alter in memory it returns as Result.Change. The batch holds records
// of this number's partition of all input topics, ordered by offset within each topic. An error is a broken invariant and stops the
// process: records that cannot be mapped are outputs (dead letters), not errors.
type Processor interface {
	Handler
	Process(ctx context.Context, in []Record) (Result, error)
}

// Feeder is a Handler for a stage whose input is not Kafka. Next blocks until there is something to commit or ctx ends (then it
// returns ctx's error, and nothing is committed). After an aborted transaction the Change is discarded and Next is called
// again: what was in the result has to be offered again by the feeder.
type Feeder interface {
	Handler
	Next(ctx context.Context) (Result, error)
}

// StageConfig describes one stage: a consumer group whose members own partition numbers.
type StageConfig struct {
	Prefix string // starts group and transactional ids: group <Prefix>.<Name>, transactional id <Prefix>.<Name>.<number>
	Name   string
	Inputs []string // input topics, all with the same partition count. Empty for a Feeder
	// StateTopic holds the handlers' durable memory, partition n for number n; "" = none. For a Feeder it is also the topic whose
	// partitions are the numbers and whose offsets are committed as a guard.
	StateTopic string
	// StatusTopic (compacted, one partition) remembers under the key "stage:<Prefix>.<Name>:<number>" that this stage once ran on a number, so
	// that a missing committed offset is told from a first start.
	StatusTopic string
	// Topics are all topics that the stage reads and writes, with their partition counts. A running stage looks from time to time whether they are as they were,
	// and stops when one is not. Optional: the topics above are watched anyway.
	Topics []TopicSpec
	Layout int // version of the state layout; members of two layouts refuse to share a group
	// New makes the handler of a number, on assignment, before its state is loaded.
	New func(number int32) (Handler, error)

	MaxBatchRecords int           // default 4000
	MaxBatchBytes   int           // default 4 MiB, uncompressed
	SessionTimeout  time.Duration // default 10 s
	RebalanceBound  time.Duration // default 30 s
	TxnTimeout      time.Duration // default 60 s
	DrainTimeout    time.Duration // default 20 s: how long a graceful stop waits for the transaction in flight
	Codec           string        // none, gzip, snappy, lz4, zstd; default zstd
}
