//go:build integration

package deploy_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/m365sim"
	"millrace/internal/m365sim/tenant"
	"millrace/internal/testkit"
)

// binaries are the three stages; the name of each is also its user.
var binaries = []string{"ingester", "normalizer", "enricher"}

// TestKafkaRightsThatTopicsPrints runs the pipeline on a broker that allows nothing but what -topics of each binary printed, with topics.create: false.
func TestKafkaRightsThatTopicsPrints(t *testing.T) {
	users := map[string]string{"auditor": "auditor-password"}
	for _, name := range binaries {
		users[name] = name + "-password"
	}
	cluster := testkit.StartKafka(t, testkit.KafkaConfig{ACL: true, Users: users})
	bin := testkit.Build(t, root, append(binaries, "cmd/m365sim")...)
	folder := t.TempDir()
	feed := startFeed(t, folder)
	admin := openAdmin(t, cluster)

	args := map[string][]string{}
	for _, name := range binaries {
		args[name] = stageArgs(t, name, users[name], cluster.Brokers[0], feed)
	}
	t.Run("without rights", func(t *testing.T) {
		p := testkit.StartProcess(t, exec.Command(filepath.Join(bin, "normalizer"), args["normalizer"]...))
		if code := p.ExitCode(t, time.Minute); code != 1 {
			t.Errorf("exit code %d, want 1\n%s", code, p.Output())
		}
		t.Log(p.Output())
	})
	for _, name := range binaries {
		text, err := exec.Command(filepath.Join(bin, name), append(args[name], "-topics")...).Output()
		if err != nil {
			t.Fatalf("%s -topics: %v", name, err)
		}
		if err := testkit.Administer(t.Context(), admin, string(text), map[string]string{"PRINCIPAL": "User:" + name, "AUDITOR": "User:auditor"}); err != nil {
			t.Fatalf("%s -topics: %v", name, err)
		}
	}
	var running []*testkit.Process
	for _, name := range binaries {
		running = append(running, testkit.StartProcess(t, exec.Command(filepath.Join(bin, name), args[name]...)))
	}
	if err := awaitEnriched(t, cluster, 500); err != nil {
		for i, p := range running {
			t.Errorf("%s printed:\n%s", binaries[i], p.Output())
		}
		t.Fatal(err)
	}
	verify := testkit.StartProcess(t, exec.Command(filepath.Join(bin, "m365sim"), "verify", "-dir", folder, "-brokers", strings.Join(cluster.Open, ","), "-wait", "4m"))
	if code := verify.ExitCode(t, 5*time.Minute); code != 0 {
		t.Errorf("the topics are not what the tenant has: exit code %d", code)
	}
	t.Log(verify.Output())
	runCommands(t, filepath.Join(bin, "ingester"), feed.Tenants()[0].ID(), args["ingester"],
		append(slices.Clone(args["ingester"]), "-set", "kafka.security.sasl_username=auditor", "-set", "kafka.security.sasl_password_file="+secretFile(t, users["auditor"])))
	for i, p := range running {
		if out := p.Output(); strings.Contains(out, "AUTHORIZATION") || strings.Contains(out, "uthorization") {
			t.Errorf("%s misses a right:\n%s", binaries[i], out)
		}
	}
}

// runCommands runs the commands of the ingester with its own rights, and those that only read with an auditor's.
func runCommands(t *testing.T, ingester, tenant string, own, auditor []string) {
	t.Helper()
	from := time.Now().Add(-8 * 24 * time.Hour).UTC().Format(time.RFC3339)
	for _, c := range []struct {
		name string
		as   []string
		args []string
		code int
		want string
	}{
		{"status as the ingester", own, []string{"status"}, 0, "Connected"},
		{"status as an auditor", auditor, []string{"status"}, 0, "Connected"},
		{"verify as an auditor", auditor, []string{"verify", "-tenant", tenant, "-from", from}, 0, "records: complete"},
		{"gaps as an auditor", auditor, []string{"ack-gap"}, 0, "REASON"},
		{"acknowledge as the ingester", own, []string{"ack-gap", "-all"}, 0, "gaps acknowledged"},
		{"check as the ingester", own, []string{"-check"}, 0, "broker setting"},
		{"verify as the ingester", own, []string{"verify", "-tenant", tenant}, 1, "-topics prints"},
	} {
		var args []string
		if strings.HasPrefix(c.args[0], "-") {
			args = append(slices.Clone(c.as), c.args...)
		} else {
			args = slices.Concat(c.args[:1], c.as, c.args[1:])
		}
		p := testkit.StartProcess(t, exec.Command(ingester, args...))
		if code := p.ExitCode(t, 2*time.Minute); code != c.code || !strings.Contains(p.Output(), c.want) {
			t.Errorf("%s: exit code %d, want %d and %q\n%s", c.name, code, c.code, c.want, p.Output())
		}
	}
}

// startFeed runs a simulated Microsoft 365 with a small tenant, which it keeps in a folder.
func startFeed(t *testing.T, folder string) *m365sim.Server {
	t.Helper()
	sim, err := m365sim.New(m365sim.Config{
		Tenants: []tenant.Config{{Records: 2000, Origin: time.Now(), LiveRate: -1}}, Dir: folder, AlwaysSubscribed: true, Quota: -1,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := sim.Start("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 10*time.Second)
		defer cancel()
		if err := sim.Close(ctx); err != nil {
			t.Log(err)
		}
	})
	return sim
}

// stageArgs returns the command line of a stage for a user of its own: the configuration of the compose file with this test's addresses.
func stageArgs(t *testing.T, name, password, broker string, feed *m365sim.Server) []string {
	t.Helper()
	set := map[string]string{
		"kafka.brokers": broker, "kafka.partitions": "4", "kafka.control_partitions": "4", "kafka.replication": "1", "kafka.topics.create": "false",
		"kafka.security.sasl_mechanism": "SCRAM-SHA-512", "kafka.security.sasl_username": name,
		"kafka.security.sasl_password_file": secretFile(t, password), "admin.listen": "off", "log.format": "text",
	}
	if name == "ingester" {
		set["tenants.0.client_secret"] = "file:" + secretFile(t, m365sim.DefaultClientSecret)
		set["tenants.0.ca_file"] = feed.CAFile()
		for _, host := range []string{"authority", "api", "graph"} {
			set["tenants.0.hosts."+host] = feed.URL()
		}
	}
	args := []string{"-config", filepath.Join("compose", name+".yaml")}
	for key, value := range set {
		args = append(args, "-set", fmt.Sprintf("%s=%s", key, value))
	}
	return args
}

func secretFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func openAdmin(t *testing.T, cluster *testkit.Cluster) *kadm.Client {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.Open...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return kadm.NewClient(client)
}

// awaitEnriched reads enriched topics until n events have come.
func awaitEnriched(t *testing.T, cluster *testkit.Cluster, n int) error {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.Open...), kgo.ConsumeRegex(), kgo.ConsumeTopics(`^m365\.enriched\.`),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.MetadataMinAge(time.Second))
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	for got := 0; got < n; {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			return fmt.Errorf("%d of %d enriched events came", got, n)
		}
		got += fetches.NumRecords()
	}
	return nil
}
