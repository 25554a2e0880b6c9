//go:build long

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"millrace/internal/broker"
	"millrace/internal/m365sim"
	"millrace/internal/m365sim/tenant"
	"millrace/internal/testkit"
)

// TestThousandTenants lets one ingester carry the week of a thousand small tenants and then measures what they cost while nothing happens.
func TestThousandTenants(t *testing.T) {
	const tenants, limit = 1000, 512 << 20
	cfg := m365sim.Config{Dir: t.TempDir(), AlwaysSubscribed: true}
	for seed := range tenants {
		cfg.Tenants = append(cfg.Tenants, tenant.Config{Seed: uint64(seed + 1), Records: 10, LiveRate: -1})
	}
	sim, err := m365sim.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := sim.Start("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := sim.Close(ctx); err != nil {
			t.Log(err)
		}
	})
	b, err := broker.Open(broker.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Log(err)
		}
	})
	binary := filepath.Join(testkit.Build(t, root, "ingester"), "ingester")
	began := time.Now()
	p := testkit.StartProcess(t, exec.Command(binary, "-config", tenantsConfig(t, b.Addr(), sim)))
	for {
		blobs, served := 0, 0
		for _, tl := range sim.Ledger().Tenants {
			for _, c := range tl.Content {
				blobs, served = blobs+c.Blobs, served+c.BlobsServed
			}
		}
		if served == blobs {
			t.Logf("the week of %d tenants, %d blobs, is fetched after %s, with %d MiB at most", tenants, blobs, time.Since(began).Round(time.Second), memory(t, p, "VmHWM")>>20)
			break
		}
		if time.Since(began) > 15*time.Minute {
			t.Fatalf("%d of %d blobs after 15 minutes\n%s", served, blobs, p.Output())
		}
		select {
		case <-p.Done():
			t.Fatalf("the ingester ended\n%s", p.Output())
		case <-time.After(2 * time.Second):
		}
	}
	// Polls slow down to one in 60 s within minutes and, after an hour without news, to one in 5 minutes: the second hour is the quiet one.
	const step = 10 * time.Minute
	for passed := time.Duration(0); passed < 80*time.Minute; passed += step {
		before := requests(sim)
		time.Sleep(step)
		t.Logf("%s to %s: %d requests a minute, %d MiB resident", passed, passed+step, (requests(sim)-before)/int(step/time.Minute), memory(t, p, "VmRSS")>>20)
	}
	if peak := memory(t, p, "VmHWM"); peak > limit {
		t.Errorf("peak of %d MiB", peak>>20)
	} else {
		t.Logf("peak of %d MiB", peak>>20)
	}
}

func tenantsConfig(t *testing.T, brokerAddr string, sim *m365sim.Server) string {
	t.Helper()
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	write(t, secret, m365sim.DefaultClientSecret)
	var b bytes.Buffer
	fmt.Fprintf(&b, "admin:\n  listen: 'off'\nkafka:\n  brokers: [%s]\ntenants:\n", brokerAddr)
	for _, tn := range sim.Tenants() {
		fmt.Fprintf(&b, "  - id: %s\n    client_id: %s\n    client_secret: file:%s\n    ca_file: %s\n    components: [activities]\n    hosts: {authority: '%s', api: '%s', graph: '%s'}\n",
			tn.ID(), m365sim.DefaultClientID, secret, sim.CAFile(), sim.URL(), sim.URL(), sim.URL())
	}
	path := filepath.Join(dir, "ingester.yaml")
	write(t, path, b.String())
	return path
}

func requests(sim *m365sim.Server) int {
	n := 0
	for _, answers := range sim.Ledger().Requests {
		for _, k := range answers {
			n += k
		}
	}
	return n
}

// memory reads a line of /proc/<pid>/status, in bytes.
func memory(t *testing.T, p *testkit.Process, line string) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), line+":")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return kib << 10
}
