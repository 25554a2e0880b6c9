package kafkatx

import "github.com/segmentio/kafka-go/protocol"

// An empty struct field with the option 'tag' marks a version as flexible for kafka-go's codec.

// --- committed offsets

type offsetFetchRequest struct {
	routed
	_             struct{}           `kafka:"min=v7,max=v7,tag"`
	GroupID       string             `kafka:"min=v7,max=v7"`
	Topics        []offsetFetchTopic `kafka:"min=v7,max=v7,nullable"`
	RequireStable bool               `kafka:"min=v7,max=v7"`
}

type offsetFetchTopic struct {
	_          struct{} `kafka:"min=v7,max=v7,tag"`
	Name       string   `kafka:"min=v7,max=v7"`
	Partitions []int32  `kafka:"min=v7,max=v7"`
}

func (*offsetFetchRequest) ApiKey() protocol.ApiKey { return protocol.OffsetFetch }

type offsetFetchResponse struct {
	_          struct{}             `kafka:"min=v7,max=v7,tag"`
	ThrottleMs int32                `kafka:"min=v7,max=v7"`
	Topics     []fetchedOffsetTopic `kafka:"min=v7,max=v7"`
	ErrorCode  int16                `kafka:"min=v7,max=v7"`
}

type fetchedOffsetTopic struct {
	_          struct{}        `kafka:"min=v7,max=v7,tag"`
	Name       string          `kafka:"min=v7,max=v7"`
	Partitions []fetchedOffset `kafka:"min=v7,max=v7"`
}

type fetchedOffset struct {
	_           struct{} `kafka:"min=v7,max=v7,tag"`
	Index       int32    `kafka:"min=v7,max=v7"`
	Offset      int64    `kafka:"min=v7,max=v7"`
	LeaderEpoch int32    `kafka:"min=v7,max=v7"`
	Metadata    string   `kafka:"min=v7,max=v7,nullable"`
	ErrorCode   int16    `kafka:"min=v7,max=v7"`
}

func (*offsetFetchResponse) ApiKey() protocol.ApiKey { return protocol.OffsetFetch }

// --- heartbeat

type heartbeatRequest struct {
	routed
	_               struct{} `kafka:"min=v4,max=v4,tag"`
	GroupID         string   `kafka:"min=v4,max=v4"`
	GenerationID    int32    `kafka:"min=v4,max=v4"`
	MemberID        string   `kafka:"min=v4,max=v4"`
	GroupInstanceID string   `kafka:"min=v4,max=v4,nullable"`
}

func (*heartbeatRequest) ApiKey() protocol.ApiKey { return protocol.Heartbeat }

type heartbeatResponse struct {
	_          struct{} `kafka:"min=v4,max=v4,tag"`
	ThrottleMs int32    `kafka:"min=v4,max=v4"`
	ErrorCode  int16    `kafka:"min=v4,max=v4"`
}

func (*heartbeatResponse) ApiKey() protocol.ApiKey { return protocol.Heartbeat }

// --- topics

type createTopicsRequest struct {
	_            struct{}      `kafka:"min=v5,max=v5,tag"`
	Topics       []createTopic `kafka:"min=v5,max=v5"`
	TimeoutMs    int32         `kafka:"min=v5,max=v5"`
	ValidateOnly bool          `kafka:"min=v5,max=v5"`
}

// Broker implements protocol.BrokerMessage: topics are created by the controller.
func (*createTopicsRequest) Broker(c protocol.Cluster) (protocol.Broker, error) {
	if b, ok := c.Brokers[c.Controller]; ok {
		return b, nil
	}
	return protocol.Broker{ID: -1}, nil
}

type createTopic struct {
	_           struct{}            `kafka:"min=v5,max=v5,tag"`
	Name        string              `kafka:"min=v5,max=v5"`
	Partitions  int32               `kafka:"min=v5,max=v5"`
	Replication int16               `kafka:"min=v5,max=v5"`
	Assignments []createAssignment  `kafka:"min=v5,max=v5"`
	Configs     []createTopicConfig `kafka:"min=v5,max=v5"`
}

type createAssignment struct {
	_         struct{} `kafka:"min=v5,max=v5,tag"`
	Partition int32    `kafka:"min=v5,max=v5"`
	BrokerIDs []int32  `kafka:"min=v5,max=v5"`
}

type createTopicConfig struct {
	_     struct{} `kafka:"min=v5,max=v5,tag"`
	Name  string   `kafka:"min=v5,max=v5"`
	Value string   `kafka:"min=v5,max=v5,nullable"`
}

func (*createTopicsRequest) ApiKey() protocol.ApiKey { return protocol.CreateTopics }

type createTopicsResponse struct {
	_          struct{}       `kafka:"min=v5,max=v5,tag"`
	ThrottleMs int32          `kafka:"min=v5,max=v5"`
	Topics     []createdTopic `kafka:"min=v5,max=v5"`
}

type createdTopic struct {
	_            struct{}             `kafka:"min=v5,max=v5,tag"`
	Name         string               `kafka:"min=v5,max=v5"`
	ErrorCode    int16                `kafka:"min=v5,max=v5"`
	ErrorMessage string               `kafka:"min=v5,max=v5,nullable"`
	Partitions   int32                `kafka:"min=v5,max=v5"`
	Replication  int16                `kafka:"min=v5,max=v5"`
	Configs      []createdTopicConfig `kafka:"min=v5,max=v5"`
}

type createdTopicConfig struct {
	_         struct{} `kafka:"min=v5,max=v5,tag"`
	Name      string   `kafka:"min=v5,max=v5"`
	Value     string   `kafka:"min=v5,max=v5,nullable"`
	ReadOnly  bool     `kafka:"min=v5,max=v5"`
	Source    int8     `kafka:"min=v5,max=v5"`
	Sensitive bool     `kafka:"min=v5,max=v5"`
}

func (*createTopicsResponse) ApiKey() protocol.ApiKey { return protocol.CreateTopics }
