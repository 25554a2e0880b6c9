package kafkatx

import (
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"sync"

	kafka "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/metadata"
	"github.com/segmentio/kafka-go/protocol/produce"
)

// The messages of this file replace those that kafka-go registers, process-wide, each in exactly one version, for one of these reasons:
// kafka-go's Fetch decodes records in the connection's goroutine and hides what the abort filter needs; its Heartbeat never reports an
// error; its OffsetFetch has no RequireStable; its transaction messages look the coordinator up before every call. All of ours are sent
// to a broker that the caller names. After that kafka-go's own Client methods for the same calls must not be used in the process.
//
// Every version is at or above the minimum of Apache Kafka 4.0 (KIP-896) and is served by 2.8 and later.

// ownMessages is the override key under which the messages are registered that must not replace kafka-go's: its transport uses them.
const ownMessages protocol.OverrideTypeKey = 7

var registerMessages = sync.OnceFunc(func() {
	protocol.Register(&fetchRequest{}, &fetchResponse{})
	protocol.Register(&listOffsetsRequest{}, &listOffsetsResponse{})
	protocol.Register(&offsetFetchRequest{}, &offsetFetchResponse{})
	protocol.Register(&heartbeatRequest{}, &heartbeatResponse{})
	protocol.Register(&createTopicsRequest{}, &createTopicsResponse{})
	protocol.Register(&initProducerRequest{}, &initProducerResponse{})
	protocol.Register(&addPartitionsRequest{}, &addPartitionsResponse{})
	protocol.Register(&addOffsetsRequest{}, &addOffsetsResponse{})
	protocol.Register(&txnOffsetCommitRequest{}, &txnOffsetCommitResponse{})
	protocol.Register(&endTxnRequest{}, &endTxnResponse{})
	protocol.RegisterOverride(&produceRequest{}, &produce.Response{}, ownMessages)
	protocol.RegisterOverride(&metadataRequest{}, &metadata.Response{}, ownMessages)
})

// routed names the broker that a request goes to. Being unexported it is no part of the message.
type routed struct{ node int32 }

// Broker implements protocol.BrokerMessage.
func (r *routed) Broker(c protocol.Cluster) (protocol.Broker, error) {
	b, ok := c.Brokers[r.node]
	if !ok {
		return protocol.Broker{ID: -1}, fmt.Errorf("broker %d: %w", r.node, kafka.BrokerNotAvailable)
	}
	return b, nil
}

// --- metadata

// metadataCall asks for metadata past the transport's cache; the transport treats its own request type specially, and so must not see it.
type metadataCall struct{ topics []string }

func (*metadataCall) ApiKey() protocol.ApiKey { return protocol.Metadata }

// Split implements protocol.Splitter.
func (m *metadataCall) Split(protocol.Cluster) ([]protocol.Message, protocol.Merger, error) {
	return []protocol.Message{&metadataRequest{TopicNames: m.topics}}, m, nil
}

// Merge implements protocol.Merger.
func (m *metadataCall) Merge(_ []protocol.Message, results []any) (protocol.Message, error) {
	res, err := protocol.Result(results[0])
	if err != nil {
		return nil, err
	}
	return &metadataResult{res.(*metadata.Response)}, nil
}

type metadataResult struct{ *metadata.Response }

type metadataRequest struct {
	TopicNames                         []string `kafka:"min=v8,max=v8,nullable"`
	AllowAutoTopicCreation             bool     `kafka:"min=v8,max=v8"`
	IncludeClusterAuthorizedOperations bool     `kafka:"min=v8,max=v8"`
	IncludeTopicAuthorizedOperations   bool     `kafka:"min=v8,max=v8"`
}

func (*metadataRequest) ApiKey() protocol.ApiKey           { return protocol.Metadata }
func (*metadataRequest) TypeKey() protocol.OverrideTypeKey { return ownMessages }

// --- produce

type produceRequest struct {
	routed
	TransactionalID string         `kafka:"min=v8,max=v8,nullable"`
	Acks            int16          `kafka:"min=v8,max=v8"`
	TimeoutMs       int32          `kafka:"min=v8,max=v8"`
	Topics          []produceTopic `kafka:"min=v8,max=v8"`
}

type produceTopic struct {
	Name       string             `kafka:"min=v8,max=v8"`
	Partitions []producePartition `kafka:"min=v8,max=v8"`
}

type producePartition struct {
	Index   int32      `kafka:"min=v8,max=v8"`
	Records sizedBytes `kafka:"min=v8,max=v8"`
}

func (*produceRequest) ApiKey() protocol.ApiKey           { return protocol.Produce }
func (*produceRequest) TypeKey() protocol.OverrideTypeKey { return ownMessages }

// sizedBytes is a record set as raw bytes, with its length before it on the wire.
type sizedBytes struct{ b []byte }

// WriteTo implements io.WriterTo.
func (s *sizedBytes) WriteTo(w io.Writer) (int64, error) {
	var size [4]byte
	binary.BigEndian.PutUint32(size[:], uint32(len(s.b)))
	if _, err := w.Write(size[:]); err != nil {
		return 0, err
	}
	n, err := w.Write(s.b)
	return int64(n) + 4, err
}

// maxRecordSet bounds one partition's part of a fetch: what was asked for plus one batch of the largest size that we configure.
const maxRecordSet = 256 << 20

// trustedSize is how much memory is taken because a length says so. Beyond it memory grows with what really arrives.
const trustedSize = 8 << 20

// ReadFrom implements io.ReaderFrom.
func (s *sizedBytes) ReadFrom(r io.Reader) (int64, error) {
	s.b = nil
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return 0, err
	}
	n := int(int32(binary.BigEndian.Uint32(size[:])))
	if n <= 0 {
		return 4, nil
	}
	if n > maxRecordSet {
		return 4, fmt.Errorf("record set of %d bytes", n)
	}
	b := make([]byte, min(n, trustedSize))
	for have := 0; ; b = append(make([]byte, 0, min(n, 2*len(b))), b...) {
		b = b[:cap(b)]
		m, err := io.ReadFull(r, b[have:])
		if have += m; err != nil {
			return int64(have) + 4, err
		}
		if have == n {
			s.b = b
			return int64(have) + 4, nil
		}
	}
}

// --- fetch

type fetchRequest struct {
	routed
	ReplicaID      int32            `kafka:"min=v11,max=v11"`
	MaxWaitMs      int32            `kafka:"min=v11,max=v11"`
	MinBytes       int32            `kafka:"min=v11,max=v11"`
	MaxBytes       int32            `kafka:"min=v11,max=v11"`
	IsolationLevel int8             `kafka:"min=v11,max=v11"`
	SessionID      int32            `kafka:"min=v11,max=v11"`
	SessionEpoch   int32            `kafka:"min=v11,max=v11"`
	Topics         []fetchTopic     `kafka:"min=v11,max=v11"`
	Forgotten      []forgottenTopic `kafka:"min=v11,max=v11"`
	RackID         string           `kafka:"min=v11,max=v11"`
}

type fetchTopic struct {
	Name       string           `kafka:"min=v11,max=v11"`
	Partitions []fetchPartition `kafka:"min=v11,max=v11"`
}

type fetchPartition struct {
	Index          int32 `kafka:"min=v11,max=v11"`
	LeaderEpoch    int32 `kafka:"min=v11,max=v11"`
	Offset         int64 `kafka:"min=v11,max=v11"`
	LogStartOffset int64 `kafka:"min=v11,max=v11"`
	MaxBytes       int32 `kafka:"min=v11,max=v11"`
}

type forgottenTopic struct {
	Name       string  `kafka:"min=v11,max=v11"`
	Partitions []int32 `kafka:"min=v11,max=v11"`
}

func (*fetchRequest) ApiKey() protocol.ApiKey { return protocol.Fetch }

type fetchResponse struct {
	ThrottleMs int32          `kafka:"min=v11,max=v11"`
	ErrorCode  int16          `kafka:"min=v11,max=v11"`
	SessionID  int32          `kafka:"min=v11,max=v11"`
	Topics     []fetchedTopic `kafka:"min=v11,max=v11"`
}

type fetchedTopic struct {
	Name       string             `kafka:"min=v11,max=v11"`
	Partitions []fetchedPartition `kafka:"min=v11,max=v11"`
}

type fetchedPartition struct {
	Index            int32        `kafka:"min=v11,max=v11"`
	ErrorCode        int16        `kafka:"min=v11,max=v11"`
	HighWatermark    int64        `kafka:"min=v11,max=v11"`
	LastStableOffset int64        `kafka:"min=v11,max=v11"`
	LogStartOffset   int64        `kafka:"min=v11,max=v11"`
	Aborted          []abortedTxn `kafka:"min=v11,max=v11"`
	PreferredReplica int32        `kafka:"min=v11,max=v11"`
	Records          sizedBytes   `kafka:"min=v11,max=v11"`
}

type abortedTxn struct {
	ProducerID  int64 `kafka:"min=v11,max=v11"`
	FirstOffset int64 `kafka:"min=v11,max=v11"`
}

func (*fetchResponse) ApiKey() protocol.ApiKey { return protocol.Fetch }

// ReadFrom implements io.ReaderFrom, and so takes the place of kafka-go's decoder, which makes an array of any length that it reads, and sizes strings alike,
// before it looks at what there is. Here an array grows as its elements arrive.
func (f *fetchResponse) ReadFrom(r io.Reader) (int64, error) {
	w := wireReader{r: r}
	*f = fetchResponse{ThrottleMs: w.int32(), ErrorCode: w.int16(), SessionID: w.int32()}
	for range w.count() {
		t := fetchedTopic{Name: w.string()}
		for range w.count() {
			p := fetchedPartition{
				Index: w.int32(), ErrorCode: w.int16(), HighWatermark: w.int64(), LastStableOffset: w.int64(), LogStartOffset: w.int64(),
			}
			for range w.count() {
				p.Aborted = append(p.Aborted, abortedTxn{ProducerID: w.int64(), FirstOffset: w.int64()})
				if w.err != nil {
					break
				}
			}
			p.PreferredReplica = w.int32()
			w.readInto(&p.Records)
			if w.err != nil {
				return w.n, w.err
			}
			t.Partitions = append(t.Partitions, p)
		}
		if w.err != nil {
			return w.n, w.err
		}
		f.Topics = append(f.Topics, t)
	}
	return w.n, w.err
}

// empty says whether there are no records in any part of an answer.
func (f *fetchResponse) empty() bool {
	return !slices.ContainsFunc(f.Topics, func(t fetchedTopic) bool {
		return slices.ContainsFunc(t.Partitions, func(p fetchedPartition) bool { return len(p.Records.b) > 0 })
	})
}

// wireReader reads the protocol's primitive types and remembers the first error; after it everything is zero.
type wireReader struct {
	r   io.Reader
	buf [8]byte
	n   int64
	err error
}

func (w *wireReader) fixed(size int) []byte {
	b := w.buf[:size]
	if w.err == nil {
		var n int
		n, w.err = io.ReadFull(w.r, b)
		w.n += int64(n)
	}
	if w.err != nil {
		clear(b)
	}
	return b
}

func (w *wireReader) int16() int16 { return int16(binary.BigEndian.Uint16(w.fixed(2))) }
func (w *wireReader) int32() int32 { return int32(binary.BigEndian.Uint32(w.fixed(4))) }
func (w *wireReader) int64() int64 { return int64(binary.BigEndian.Uint64(w.fixed(8))) }

// count is the length of an array; a null array has none.
func (w *wireReader) count() int { return max(0, int(w.int32())) }

func (w *wireReader) string() string {
	b := make([]byte, max(0, w.int16()))
	if w.err == nil {
		var n int
		n, w.err = io.ReadFull(w.r, b)
		w.n += int64(n)
	}
	return string(b)
}

func (w *wireReader) readInto(to io.ReaderFrom) {
	if w.err == nil {
		var n int64
		n, w.err = to.ReadFrom(w.r)
		w.n += n
	}
}

// --- list offsets

type listOffsetsRequest struct {
	routed
	ReplicaID      int32              `kafka:"min=v5,max=v5"`
	IsolationLevel int8               `kafka:"min=v5,max=v5"`
	Topics         []listOffsetsTopic `kafka:"min=v5,max=v5"`
}

type listOffsetsTopic struct {
	Name       string                 `kafka:"min=v5,max=v5"`
	Partitions []listOffsetsPartition `kafka:"min=v5,max=v5"`
}

type listOffsetsPartition struct {
	Index       int32 `kafka:"min=v5,max=v5"`
	LeaderEpoch int32 `kafka:"min=v5,max=v5"`
	Timestamp   int64 `kafka:"min=v5,max=v5"`
}

func (*listOffsetsRequest) ApiKey() protocol.ApiKey { return protocol.ListOffsets }

type listOffsetsResponse struct {
	ThrottleMs int32               `kafka:"min=v5,max=v5"`
	Topics     []listedOffsetTopic `kafka:"min=v5,max=v5"`
}

type listedOffsetTopic struct {
	Name       string         `kafka:"min=v5,max=v5"`
	Partitions []listedOffset `kafka:"min=v5,max=v5"`
}

type listedOffset struct {
	Index       int32 `kafka:"min=v5,max=v5"`
	ErrorCode   int16 `kafka:"min=v5,max=v5"`
	Timestamp   int64 `kafka:"min=v5,max=v5"`
	Offset      int64 `kafka:"min=v5,max=v5"`
	LeaderEpoch int32 `kafka:"min=v5,max=v5"`
}

func (*listOffsetsResponse) ApiKey() protocol.ApiKey { return protocol.ListOffsets }
