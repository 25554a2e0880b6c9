package kafkatx

import (
	"context"
	"fmt"
	"strconv"

	"github.com/segmentio/kafka-go/protocol/describeconfigs"
)

const brokerResource = 4 // of DescribeConfigs

// BrokerSettings returns settings of the broker that coordinates a group: it is the one whose settings decide how long the group's
// offsets live. The principal needs DescribeConfigs on the cluster.
func (c *Client) BrokerSettings(ctx context.Context, group string, names ...string) (map[string]string, error) {
	out := map[string]string{}
	err := c.retry(ctx, "describe broker", func() error {
		node, err := c.coordinator(ctx, 0, group)
		if err != nil {
			return err
		}
		res, err := call[*describeconfigs.Response](ctx, c, requestTimeout, &describeconfigs.Request{Resources: []describeconfigs.RequestResource{{
			ResourceType: brokerResource, ResourceName: strconv.Itoa(int(node)), ConfigNames: names,
		}}})
		if err != nil {
			return err
		}
		for _, r := range res.Resources {
			if err := codeError(r.ErrorCode); err != nil {
				return fmt.Errorf("broker %s: %w", r.ResourceName, err)
			}
			for _, e := range r.ConfigEntries {
				out[e.ConfigName] = e.ConfigValue
			}
		}
		return nil
	})
	return out, err
}
