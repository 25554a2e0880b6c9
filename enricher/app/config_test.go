package app

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"millrace/internal/service"
)

func TestValidate(t *testing.T) {
	t.Parallel()
	if err := Default().Validate(); err != nil {
		t.Fatalf("the default is refused: %v", err)
	}
	office := Range{Name: "office", Subnets: []string{"203.0.113.0/24"}}
	tests := []struct {
		name   string
		change func(*Config)
		want   string // in the error
	}{
		{"kafka", func(c *Config) { c.Kafka.Brokers = nil }, "kafka.brokers"},
		{"wait", func(c *Config) { c.Directory.Wait = -1 }, "directory.wait"},
		{"tenant", func(c *Config) { c.Directory.Tenants = []string{"example.org"} }, "directory.tenants.0"},
		{"group", func(c *Config) { c.Directory.Groups = []string{"Staff"} }, "directory.groups.0"},
		{"501 groups", func(c *Config) {
			c.Directory.Groups = strings.Split(strings.Repeat("00000000-0000-4000-8000-000000000001,", 501), ",")[:501]
		}, "at most 500"},
		{"domain", func(c *Config) { c.Domains = []string{"a@example.org"} }, "domains.0"},
		{"reload", func(c *Config) { c.Network.Reload = 0 }, "network.reload"},
		{"name", func(c *Config) { c.Network.Ranges = []Range{{Subnets: office.Subnets}} }, "network.ranges.0.name"},
		{"no subnet", func(c *Config) { c.Network.Ranges = []Range{{Name: "x"}} }, "network.ranges.0.subnets"},
		{"subnet", func(c *Config) { c.Network.Ranges = []Range{office, {Name: "x", Subnets: []string{"10.0.0.0/8", "x"}}} }, "network.ranges.1.subnets.1"},
		{"category", func(c *Config) {
			c.Network.Ranges = []Range{{Name: "x", Subnets: office.Subnets, Category: "Home"}}
		}, "network.ranges.0.category"},
		{"country", func(c *Config) {
			c.Network.Ranges = []Range{{Name: "x", Subnets: office.Subnets, Country: "Austria"}}
		}, "network.ranges.0.country"},
		{"overlap", func(c *Config) { c.Network.Ranges = []Range{office, office} }, "network.ranges"},
		{"feed", func(c *Config) { c.Network.Feeds = []Feed{{Tag: "Botnet"}} }, "network.feeds.0"},
	}
	for _, tt := range tests {
		cfg := Default()
		tt.change(&cfg)
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: err = %v, want one that says %s", tt.name, err, tt.want)
		}
	}
}

// TestConfigFile reads a file that uses every section through the real command line.
func TestConfigFile(t *testing.T) {
	t.Parallel()
	for name, wantCode := range map[string]int{"good.yaml": 0, "unknown_key.yaml": 2, "overlap.yaml": 2} {
		var out, errs bytes.Buffer
		code := service.Run(t.Context(), Program(), []string{"-config", filepath.Join("testdata", name), "-topics"}, nil, strings.NewReader(""), &out, &errs)
		if code != wantCode {
			t.Errorf("%s: exit code %d, want %d: %s", name, code, wantCode, errs.String())
		}
	}
}

func TestTopics(t *testing.T) {
	t.Parallel()
	var out, errs bytes.Buffer
	if code := service.Run(t.Context(), Program(), []string{"-topics"}, nil, strings.NewReader(""), &out, &errs); code != 0 {
		t.Fatalf("exit code %d: %s", code, errs.String())
	}
	for _, want := range []string{"m365.events.entra.v1", "m365.enriched.entra.v1", "m365.directory.v1", "m365.deadletter.dlp.v1", "--group m365.enricher"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %s in %s", want, out.String())
		}
	}
}

func TestFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "feed.txt")
	f := file{key: "network.feeds.0.file", path: path}
	if _, err := f.Stamp(); err == nil {
		t.Error("a file that is not there has a stamp")
	}
	if _, err := f.Read(); err == nil || strings.Contains(err.Error(), path) {
		t.Errorf("err = %v; the name is said by Name", err)
	}
	if err := os.WriteFile(path, []byte("one"), 0o600); err != nil {
		t.Fatal(err)
	}
	one, err := f.Stamp()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("other"), 0o600); err != nil {
		t.Fatal(err)
	}
	if other, err := f.Stamp(); err != nil || other == one {
		t.Errorf("stamps %q and %q, %v", one, other, err)
	}
	if data, err := f.Read(); err != nil || string(data) != "other" {
		t.Errorf("read %q, %v", data, err)
	}
}
