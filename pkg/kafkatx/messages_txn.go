package kafkatx

import "github.com/segmentio/kafka-go/protocol"

type initProducerRequest struct {
	routed
	_               struct{} `kafka:"min=v4,max=v4,tag"`
	TransactionalID string   `kafka:"min=v4,max=v4,nullable"`
	TimeoutMs       int32    `kafka:"min=v4,max=v4"`
	ProducerID      int64    `kafka:"min=v4,max=v4"`
	ProducerEpoch   int16    `kafka:"min=v4,max=v4"`
}

func (*initProducerRequest) ApiKey() protocol.ApiKey { return protocol.InitProducerId }

type initProducerResponse struct {
	_             struct{} `kafka:"min=v4,max=v4,tag"`
	ThrottleMs    int32    `kafka:"min=v4,max=v4"`
	ErrorCode     int16    `kafka:"min=v4,max=v4"`
	ProducerID    int64    `kafka:"min=v4,max=v4"`
	ProducerEpoch int16    `kafka:"min=v4,max=v4"`
}

func (*initProducerResponse) ApiKey() protocol.ApiKey { return protocol.InitProducerId }

type addPartitionsRequest struct {
	routed
	_               struct{}             `kafka:"min=v3,max=v3,tag"`
	TransactionalID string               `kafka:"min=v3,max=v3"`
	ProducerID      int64                `kafka:"min=v3,max=v3"`
	ProducerEpoch   int16                `kafka:"min=v3,max=v3"`
	Topics          []addPartitionsTopic `kafka:"min=v3,max=v3"`
}

type addPartitionsTopic struct {
	_          struct{} `kafka:"min=v3,max=v3,tag"`
	Name       string   `kafka:"min=v3,max=v3"`
	Partitions []int32  `kafka:"min=v3,max=v3"`
}

func (*addPartitionsRequest) ApiKey() protocol.ApiKey { return protocol.AddPartitionsToTxn }

type addPartitionsResponse struct {
	_          struct{}              `kafka:"min=v3,max=v3,tag"`
	ThrottleMs int32                 `kafka:"min=v3,max=v3"`
	Topics     []addedPartitionTopic `kafka:"min=v3,max=v3"`
}

type addedPartitionTopic struct {
	_          struct{}         `kafka:"min=v3,max=v3,tag"`
	Name       string           `kafka:"min=v3,max=v3"`
	Partitions []addedPartition `kafka:"min=v3,max=v3"`
}

type addedPartition struct {
	_         struct{} `kafka:"min=v3,max=v3,tag"`
	Index     int32    `kafka:"min=v3,max=v3"`
	ErrorCode int16    `kafka:"min=v3,max=v3"`
}

func (*addPartitionsResponse) ApiKey() protocol.ApiKey { return protocol.AddPartitionsToTxn }

type addOffsetsRequest struct {
	routed
	_               struct{} `kafka:"min=v3,max=v3,tag"`
	TransactionalID string   `kafka:"min=v3,max=v3"`
	ProducerID      int64    `kafka:"min=v3,max=v3"`
	ProducerEpoch   int16    `kafka:"min=v3,max=v3"`
	GroupID         string   `kafka:"min=v3,max=v3"`
}

func (*addOffsetsRequest) ApiKey() protocol.ApiKey { return protocol.AddOffsetsToTxn }

type addOffsetsResponse struct {
	_          struct{} `kafka:"min=v3,max=v3,tag"`
	ThrottleMs int32    `kafka:"min=v3,max=v3"`
	ErrorCode  int16    `kafka:"min=v3,max=v3"`
}

func (*addOffsetsResponse) ApiKey() protocol.ApiKey { return protocol.AddOffsetsToTxn }

type txnOffsetCommitRequest struct {
	routed
	_               struct{}          `kafka:"min=v3,max=v3,tag"`
	TransactionalID string            `kafka:"min=v3,max=v3"`
	GroupID         string            `kafka:"min=v3,max=v3"`
	ProducerID      int64             `kafka:"min=v3,max=v3"`
	ProducerEpoch   int16             `kafka:"min=v3,max=v3"`
	GenerationID    int32             `kafka:"min=v3,max=v3"`
	MemberID        string            `kafka:"min=v3,max=v3"`
	GroupInstanceID string            `kafka:"min=v3,max=v3,nullable"`
	Topics          []txnOffsetsTopic `kafka:"min=v3,max=v3"`
}

type txnOffsetsTopic struct {
	_          struct{}    `kafka:"min=v3,max=v3,tag"`
	Name       string      `kafka:"min=v3,max=v3"`
	Partitions []txnOffset `kafka:"min=v3,max=v3"`
}

type txnOffset struct {
	_           struct{} `kafka:"min=v3,max=v3,tag"`
	Index       int32    `kafka:"min=v3,max=v3"`
	Offset      int64    `kafka:"min=v3,max=v3"`
	LeaderEpoch int32    `kafka:"min=v3,max=v3"` // -1: another value makes other clients suspect a truncated log
	Metadata    string   `kafka:"min=v3,max=v3,nullable"`
}

func (*txnOffsetCommitRequest) ApiKey() protocol.ApiKey { return protocol.TxnOffsetCommit }

type txnOffsetCommitResponse struct {
	_          struct{}              `kafka:"min=v3,max=v3,tag"`
	ThrottleMs int32                 `kafka:"min=v3,max=v3"`
	Topics     []addedPartitionTopic `kafka:"min=v3,max=v3"`
}

func (*txnOffsetCommitResponse) ApiKey() protocol.ApiKey { return protocol.TxnOffsetCommit }

type endTxnRequest struct {
	routed
	_               struct{} `kafka:"min=v3,max=v3,tag"`
	TransactionalID string   `kafka:"min=v3,max=v3"`
	ProducerID      int64    `kafka:"min=v3,max=v3"`
	ProducerEpoch   int16    `kafka:"min=v3,max=v3"`
	Commit          bool     `kafka:"min=v3,max=v3"`
}

func (*endTxnRequest) ApiKey() protocol.ApiKey { return protocol.EndTxn }

type endTxnResponse struct {
	_          struct{} `kafka:"min=v3,max=v3,tag"`
	ThrottleMs int32    `kafka:"min=v3,max=v3"`
	ErrorCode  int16    `kafka:"min=v3,max=v3"`
}

func (*endTxnResponse) ApiKey() protocol.ApiKey { return protocol.EndTxn }
