package kafkatx

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	kafka "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/describeconfigs"
)

// minInSync is set to 2 on topics that are created with three or more replicas: acks=all then means two of them.
const minInSync = "min.insync.replicas"

// TopicSpec says what a topic has to be like.
type TopicSpec struct {
	Name        string
	Partitions  int
	Replication int               // 0 = 3, or as many as there are brokers
	Configs     map[string]string // the topic's own settings
}

// Difference is a setting of an existing topic that is not what was asked for.
type Difference struct {
	Topic, Config, Want, Have string
}

// String implements fmt.Stringer.
func (d Difference) String() string {
	return fmt.Sprintf("topic %s: %s is %q, should be %q", d.Topic, d.Config, d.Have, d.Want)
}

// MissingTopicsError says that topics are not there and may not be created.
type MissingTopicsError struct{ Topics []string }

// Error implements error.
func (e *MissingTopicsError) Error() string {
	return "topics are missing and topics.create is off: " + strings.Join(e.Topics, ", ") +
		": create them (-topics prints the commands) or turn it on"
}

// EnsureTopics makes sure that topics exist as specified. A topic that is missing is created if create is set and is a *MissingTopicsError if not; an
// error, too, is one with another partition count. Other settings that differ are returned and left as they are: they may be on purpose.
func (c *Client) EnsureTopics(ctx context.Context, specs []TopicSpec, create bool) ([]Difference, error) {
	differences, err := c.ensureTopics(ctx, specs, create)
	return differences, withRight(err)
}

func (c *Client) ensureTopics(ctx context.Context, specs []TopicSpec, create bool) ([]Difference, error) {
	missing, err := c.missingTopics(ctx, specs)
	if err != nil {
		return nil, err
	}
	if len(missing) > 0 && !create {
		names := make([]string, len(missing))
		for i, s := range missing {
			names[i] = s.Name
		}
		return nil, &MissingTopicsError{Topics: names}
	}
	if err := c.createTopics(ctx, missing); err != nil {
		return nil, err
	}
	for _, s := range specs {
		if err := c.awaitTopic(ctx, s); err != nil {
			return nil, err
		}
	}
	return c.configDifferences(ctx, specs)
}

func (c *Client) missingTopics(ctx context.Context, specs []TopicSpec) ([]TopicSpec, error) {
	var missing []TopicSpec
	for _, s := range specs {
		n, err := c.Partitions(ctx, s.Name)
		switch {
		case errors.Is(err, kafka.UnknownTopicOrPartition):
			missing = append(missing, s)
		case err != nil:
			return nil, err
		case n != s.Partitions:
			return nil, fmt.Errorf("topic %s has %d partitions, %d are configured: partition counts are for life, because keys stay with "+
				"their number in every topic and in the state; configure %d if every topic has so many, else use another prefix", s.Name, n, s.Partitions, n)
		}
	}
	return missing, nil
}

func (c *Client) createTopics(ctx context.Context, specs []TopicSpec) error {
	if len(specs) == 0 {
		return nil
	}
	c.layout.mu.Lock()
	nodes := c.layout.nodes
	c.layout.mu.Unlock()
	req := &createTopicsRequest{TimeoutMs: int32(requestTimeout.Milliseconds())}
	for _, s := range specs {
		t := createTopic{Name: s.Name, Partitions: int32(s.Partitions), Replication: int16(s.Replication)}
		if s.Replication <= 0 {
			t.Replication = int16(min(3, max(nodes, 1)))
		}
		for _, k := range slices.Sorted(maps.Keys(s.Configs)) {
			t.Configs = append(t.Configs, createTopicConfig{Name: k, Value: s.Configs[k]})
		}
		if _, set := s.Configs[minInSync]; !set && t.Replication >= 3 {
			t.Configs = append(t.Configs, createTopicConfig{Name: minInSync, Value: "2"})
		}
		req.Topics = append(req.Topics, t)
	}
	return c.retry(ctx, "create topics", func() error {
		res, err := call[*createTopicsResponse](ctx, c, 2*requestTimeout, req)
		if err != nil {
			return err
		}
		var worst error
		for _, t := range res.Topics {
			err := codeError(t.ErrorCode)
			if err == nil || errors.Is(err, kafka.TopicAlreadyExists) { // another process was faster, or an answer was lost
				continue
			}
			if errors.Is(err, kafka.InvalidReplicationFactor) {
				err = fmt.Errorf("the configured replication takes more brokers than the cluster has (%d): %w", nodes, err)
			}
			if worst == nil || classify(err) > classify(worst) {
				worst = fmt.Errorf("topic %s: %w: %s", t.Name, err, t.ErrorMessage)
			}
		}
		return worst
	})
}

// awaitTopic waits until a topic is known with a leader for each partition.
func (c *Client) awaitTopic(ctx context.Context, s TopicSpec) error {
	return c.retry(ctx, "wait for topic "+s.Name, func() error {
		t, err := c.topic(ctx, s.Name)
		if err != nil {
			return err
		}
		if len(t.leaders) != s.Partitions {
			return permanentError{fmt.Errorf("topic %s has %d partitions, %d are configured: somebody else made it", s.Name, len(t.leaders), s.Partitions)}
		}
		for p := range t.leaders {
			if _, err := c.leader(ctx, s.Name, int32(p)); err != nil {
				return err
			}
		}
		return nil
	})
}

func (c *Client) configDifferences(ctx context.Context, specs []TopicSpec) ([]Difference, error) {
	const topicResource = 2
	req := &describeconfigs.Request{}
	want := map[string]map[string]string{}
	for _, s := range specs {
		if len(s.Configs) > 0 {
			want[s.Name] = s.Configs
			req.Resources = append(req.Resources, describeconfigs.RequestResource{
				ResourceType: topicResource, ResourceName: s.Name, ConfigNames: slices.Sorted(maps.Keys(s.Configs)),
			})
		}
	}
	if len(want) == 0 {
		return nil, nil
	}
	var out []Difference
	err := c.retry(ctx, "describe topics", func() error {
		res, err := call[*describeconfigs.Response](ctx, c, requestTimeout, req)
		if err != nil {
			return err
		}
		out = nil
		for _, r := range res.Resources {
			if err := codeError(r.ErrorCode); err != nil {
				return fmt.Errorf("topic %s: %w", r.ResourceName, err)
			}
			have := map[string]string{}
			for _, e := range r.ConfigEntries {
				have[e.ConfigName] = e.ConfigValue
			}
			for _, k := range slices.Sorted(maps.Keys(want[r.ResourceName])) {
				if w := want[r.ResourceName][k]; have[k] != w {
					out = append(out, Difference{Topic: r.ResourceName, Config: k, Want: w, Have: have[k]})
				}
			}
		}
		return nil
	})
	return out, err
}
