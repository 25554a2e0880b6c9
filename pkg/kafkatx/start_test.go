//go:build integration

package kafkatx

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"millrace/internal/testkit"
)

// TestKafkaStartErrors starts with everything wrong that can be wrong between a client and a broker that asks for a user.
func TestKafkaStartErrors(t *testing.T) {
	for _, version := range []string{testkit.KafkaNewest, testkit.KafkaOldest} {
		t.Run(version, func(t *testing.T) {
			k := testkit.StartKafka(t, testkit.KafkaConfig{Version: version, ACL: true, Users: map[string]string{"stage": "right"}, Properties: kafkaProperties})
			_, ca := newCertificate(t)
			for _, tc := range []struct {
				name     string
				security Security
				want     []string
			}{
				{"wrong password", Security{SASLMechanism: "SCRAM-SHA-512", Username: "stage", Password: "wrong"}, []string{"refuses the user name or password", "[58]"}},
				{"wrong password, plain", Security{SASLMechanism: "PLAIN", Username: "stage", Password: "wrong"}, []string{"refuses the user name or password", "[58]"}},
				{"no such user", Security{SASLMechanism: "SCRAM-SHA-256", Username: "nobody", Password: "right"}, []string{"refuses the user name or password", "[58]"}},
				{"no SASL", Security{}, []string{"it expects TLS (configured: false) or SASL (configured: none)"}},
				{"TLS without SASL", Security{TLSCAFile: ca}, []string{"TLS (configured: true) or SASL (configured: none)"}},
				{"mechanism not offered", Security{SASLMechanism: "OAUTHBEARER", TokenFile: ca}, []string{"does not offer SASL mechanism OAUTHBEARER", "[33]"}},
				{"all is well", Security{SASLMechanism: "SCRAM-SHA-512", Username: "stage", Password: "right"}, nil},
			} {
				c := secureClient(t, k.Brokers, tc.security)
				err := c.Ping(testContext(t))
				t.Logf("%s: %v", tc.name, err)
				wantError(t, err, tc.want...)
				if tc.want != nil {
					continue
				}
				if err != nil {
					t.Errorf("Ping: %v", err)
				}
				_, err = c.EnsureTopics(testContext(t), []TopicSpec{{Name: "forbidden", Partitions: 1}}, true)
				t.Logf("no right to create: %v", err)
				wantError(t, err, "topic forbidden", "[29]", "Create on those that are missing")
			}
			open := newClient(t, k.Open)
			_, err := open.EnsureTopics(testContext(t), []TopicSpec{{Name: "spread", Partitions: 1, Replication: 3}}, true)
			t.Logf("replication: %v", err)
			wantError(t, err, "topic spread", "takes more brokers than the cluster has (1)")
			_, err = open.EnsureTopics(testContext(t), []TopicSpec{{Name: "absent", Partitions: 1}}, false)
			wantError(t, err, "topics are missing and topics.create is off: absent")
			early := testStage("early", []string{"absent"}, "", "")
			early.StatusTopic = ""
			wantError(t, start(t, k.Open, early).fails(t), "topic absent", "[3]")
			tooLargeOnKafka(t, k.Open)
		})
	}
}

// tooLargeOnKafka has a stage whose output is larger than the topic takes.
func tooLargeOnKafka(t *testing.T, brokers []string) {
	t.Helper()
	small := map[string]string{"max.message.bytes": "2000"}
	specs := []TopicSpec{{Name: "in", Partitions: 1}, {Name: "out", Partitions: 1, Configs: small}, {Name: "status", Partitions: 1}}
	c := newClient(t, brokers)
	if _, err := c.EnsureTopics(testContext(t), specs, true); err != nil {
		t.Fatal(err)
	}
	p, err := c.NewProducer(ProducerConfig{TransactionalID: "large"})
	if err == nil {
		err = p.Init(testContext(t))
	}
	if err == nil {
		value := make([]byte, 10000)
		_, _ = rand.Read(value)
		err = commitAll(testContext(t), p, []Record{{Topic: "in", Key: []byte("large"), Value: value}})
	}
	if err != nil {
		t.Fatal(err)
	}
	err = start(t, brokers, testStage("large", []string{"in"}, "", "out")).fails(t)
	t.Logf("too large: %v", err)
	wantError(t, err, "topic out", "too large")
}

// TestKafkaPasswordChanges gives the user of a running stage another password, and breaks all connections.
func TestKafkaPasswordChanges(t *testing.T) {
	k := testkit.StartKafka(t, testkit.KafkaConfig{Users: map[string]string{"stage": "first"}, Properties: kafkaProperties})
	file := filepath.Join(t.TempDir(), "password")
	write := func(password string) {
		if err := os.WriteFile(file, []byte(password), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("first")
	client := ClientConfig{Brokers: k.Brokers}
	if err := (Security{SASLMechanism: "SCRAM-SHA-512", Username: "stage", PasswordFile: file}).Apply(&client); err != nil {
		t.Fatal(err)
	}
	const partitions = 2
	handoverTopics(t, k.Open, partitions)
	sight := startSight(t, k.Open, "out", nil)
	s := startStream(t, k.Open, "in", partitions, 20*time.Millisecond)
	w, _ := startLogged(t, client, censusStage("changed", "in", "state", "out", "a"))
	eventually(t, "some are out", func() bool { return sight.count() > 50 })
	_, err := admin(t, k.Open).AlterUserSCRAMs(testContext(t), nil, []kadm.UpsertSCRAM{
		{User: "stage", Mechanism: kadm.ScramSha512, Iterations: 4096, Password: "second"},
	})
	if err != nil {
		t.Fatal(err)
	}
	write("second\n")
	k.KillNode(0)
	if err := k.StartNode(0); err != nil {
		t.Fatal(err)
	}
	sent := s.stop()
	sight.await(t, s)
	if err := w.finish(); err != nil {
		t.Errorf("Run: %v", err)
	}
	write("first")
	if c, err := NewClient(client); err != nil {
		t.Error(err)
	} else {
		wantError(t, c.Ping(testContext(t)), "refuses the user name or password")
		c.Close()
	}
	checkCensus(t, k.Open, "out", sent)
}
