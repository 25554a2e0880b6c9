package kafkatx

import (
	"encoding/binary"
	"fmt"
	"io"
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

// ReadFrom implements io.ReaderFrom.
func (s *sizedBytes) ReadFrom(r io.Reader) (int64, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return 0, err
	}
	n := int32(binary.BigEndian.Uint32(size[:]))
	if n <= 0 {
		s.b = nil
		return 4, nil
	}
	if n > maxRecordSet {
		return 4, fmt.Errorf("record set of %d bytes", n)
	}
	s.b = make([]byte, n)
	m, err := io.ReadFull(r, s.b)
	return int64(m) + 4, err
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
