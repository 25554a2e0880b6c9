package kafkatx

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kfake"
)

func TestEnsureTopics(t *testing.T) {
	t.Parallel()
	k := newCluster(t, 3)
	c := newClient(t, k.ListenAddrs())
	ctx := testContext(t)
	specs := []TopicSpec{
		{Name: "a", Partitions: 4, Configs: map[string]string{"retention.ms": "1000", "cleanup.policy": "compact"}},
		{Name: "b", Partitions: 1, Replication: 1},
	}
	if _, err := c.EnsureTopics(ctx, specs, false); err == nil || !strings.Contains(err.Error(), "a, b") {
		t.Errorf("missing topics with create off: %v", err)
	}
	for range 2 { // creating what exists is no error
		diff, err := c.EnsureTopics(ctx, specs, true)
		if err != nil || len(diff) != 0 {
			t.Fatalf("EnsureTopics: %v, %v", diff, err)
		}
	}
	if n, err := c.Partitions(ctx, "a"); n != 4 || err != nil {
		t.Errorf("Partitions: %d, %v", n, err)
	}
	specs[0].Configs["retention.ms"] = "2000"
	got, err := c.EnsureTopics(ctx, specs, true)
	want := []Difference{{Topic: "a", Config: "retention.ms", Want: "2000", Have: "1000"}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("differences: %s, %v", diff, err)
	}
	_, err = c.EnsureTopics(ctx, []TopicSpec{{Name: "c", Partitions: 1, Replication: 4}}, true)
	wantError(t, err, "topic c", "takes more brokers than the cluster has (3)")
	specs[1].Partitions = 2
	if _, err := c.EnsureTopics(ctx, specs, true); err == nil || !strings.Contains(err.Error(), "for life") {
		t.Errorf("changed partition count: %v", err)
	}
}

func TestSASL(t *testing.T) {
	t.Parallel()
	k := newCluster(t, 1, kfake.EnableSASL(), kfake.Superuser("PLAIN", "u", "right"), kfake.Superuser("SCRAM-SHA-256", "u256", "right"),
		kfake.Superuser("SCRAM-SHA-512", "u512", "right"))
	file := filepath.Join(t.TempDir(), "password")
	for _, tc := range []struct {
		name, mechanism, user, password string
		want                            string
	}{
		{"plain", "PLAIN", "u", "right\n", ""},
		{"scram 256", "SCRAM-SHA-256", "u256", "right", ""},
		{"scram 512", "SCRAM-SHA-512", "u512", "right\r\n", ""},
		{"wrong password", "SCRAM-SHA-512", "u512", "wrong", "refuses the credentials"},
		{"no SASL", "", "", "", "SASL"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := ClientConfig{Brokers: k.ListenAddrs()}
			s := Security{SASLMechanism: tc.mechanism, Username: tc.user}
			if tc.mechanism != "" {
				if err := os.WriteFile(file, []byte(tc.password), 0o600); err != nil {
					t.Fatal(err)
				}
				s.PasswordFile = file
			}
			if err := s.Apply(&cfg); err != nil {
				t.Fatalf("Apply: %v", err)
			}
			c, err := NewClient(cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			switch err := c.Ping(testContext(t)); {
			case tc.want == "" && err != nil:
				t.Errorf("Ping: %v", err)
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("Ping: %v, want something about %q", err, tc.want)
			}
		})
	}
}

func TestPingSaysThatNobodyIsThere(t *testing.T) {
	t.Parallel()
	c, err := NewClient(ClientConfig{Brokers: []string{"127.0.0.1:1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Ping(context.Background()); err == nil || !strings.Contains(err.Error(), "nobody listens there") {
		t.Errorf("Ping: %v", err)
	}
}
