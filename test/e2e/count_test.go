//go:build integration

package e2e

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/pkg/wire"
)

// count is about how many records lie on a deployment's enriched topics; markers count too.
func count(t *testing.T, brokers []string, prefix string) int {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ends, err := kadm.NewClient(client).ListEndOffsets(t.Context(), wire.Names{Prefix: prefix}.EnrichedAll()...)
	if err != nil {
		return 0 // the topics are not there yet
	}
	n := 0
	ends.Each(func(o kadm.ListedOffset) { n += int(o.Offset) })
	return n
}
