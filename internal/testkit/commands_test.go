package testkit

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestAdminister(t *testing.T) {
	t.Parallel()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	admin := kadm.NewClient(client)
	const text = `
# topics
kafka-topics.sh --bootstrap-server $BOOTSTRAP --create --if-not-exists --topic example.v1 --partitions 3 --replication-factor 1 --config retention.ms=1000
kafka-topics.sh --bootstrap-server $BOOTSTRAP --create --if-not-exists --topic example.v1 --partitions 3 --replication-factor 1
# rights
kafka-acls.sh --bootstrap-server $BOOTSTRAP --add --allow-principal $PRINCIPAL --operation Read --operation Describe --topic example.v1
kafka-acls.sh --bootstrap-server $BOOTSTRAP --add --allow-principal $PRINCIPAL --operation Write --transactional-id example. --resource-pattern-type prefixed
`
	if err := Administer(t.Context(), admin, text, map[string]string{"PRINCIPAL": "User:someone"}); err != nil {
		t.Fatal(err)
	}
	topics, err := admin.ListTopics(t.Context(), "example.v1")
	if err != nil || len(topics["example.v1"].Partitions) != 3 {
		t.Errorf("topic example.v1: %v, %v; want three partitions", topics["example.v1"], err)
	}
	acls, err := admin.DescribeACLs(t.Context(), kadm.NewACLs().AnyResource().Allow().AllowHosts().Operations().ResourcePatternType(kadm.ACLPatternAny))
	if err != nil {
		t.Fatal(err)
	}
	granted := map[string]bool{}
	for _, found := range acls {
		for _, acl := range found.Described {
			granted[acl.Name+" "+acl.Pattern.String()+" "+acl.Operation.String()+" "+acl.Principal] = true
		}
	}
	for _, want := range []string{"example.v1 LITERAL READ User:someone", "example.v1 LITERAL DESCRIBE User:someone", "example. PREFIXED WRITE User:someone"} {
		if !granted[want] {
			t.Errorf("no right %q in %v", want, granted)
		}
	}
	if len(granted) != 3 {
		t.Errorf("granted %v, want three rights", granted)
	}
	for _, bad := range []string{
		"kafka-acls.sh --add --allow-principal User:x --operation Read --topic a --deny-host b",
		"kafka-acls.sh --add --allow-principal User:x --operation Fly --topic a",
		"kafka-configs.sh --alter",
		"kafka-topics.sh --create --topic a stray",
	} {
		if err := Administer(t.Context(), admin, bad, nil); err == nil || !strings.Contains(err.Error(), bad) {
			t.Errorf("%s: %v, want an error that names the line", bad, err)
		}
	}
}
