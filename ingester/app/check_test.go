package app

import (
	"bytes"
	"context"
	"regexp"
	"strings"
	"testing"
	"time"

	"millrace/internal/conf"
	"millrace/internal/m365sim"
	"millrace/internal/service"
)

func TestCheckNamesWhatIsBroken(t *testing.T) {
	t.Parallel()
	app := func(roles ...string) []m365sim.App {
		return []m365sim.App{{ClientID: m365sim.DefaultClientID, Secret: m365sim.DefaultClientSecret, Roles: roles}}
	}
	tests := []struct {
		name   string
		sim    func(*m365sim.Config)
		config func(*Config)
		row    string // of the table, as a regular expression; "" = everything is fine
	}{
		{"all well", nil, nil, ""},
		{"no licence", func(c *m365sim.Config) { c.Unlicensed = true }, nil, `K1 .*FAILED.*assign at least one`},
		{"auditing off", func(c *m365sim.Config) { c.AuditingOff = true }, nil, `K2 .*FAILED.*unified audit logging`},
		{"no ReadDlp", func(c *m365sim.Config) { c.Apps = app("ActivityFeed.Read", "Directory.Read.All") }, nil, `K9 .*FAILED.*missing ActivityFeed.ReadDlp.*admin consent`},
		{"wrong secret", nil, func(c *Config) { c.Tenants[0].Secret = conf.SecretValue("wrong") }, `K9 .*FAILED.*AADSTS7000215.*secret`},
		{"clock", func(c *m365sim.Config) { c.ClockSkew = 11 * time.Minute }, nil, `K11 .*FAILED.*NTP`},
		{"network", nil, func(c *Config) { c.Tenants[0].Hosts.Graph = "https://127.0.0.1:1" }, `K12 .*FAILED.*127.0.0.1:1.*allow`},
		{"no broker", nil, func(c *Config) { c.Kafka.Brokers = []string{"127.0.0.1:1"} }, `Kafka .*FAILED`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 500, tt.sim)
			if tt.config != nil {
				tt.config(&w.cfg)
			}
			var out bytes.Buffer
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			err := Check(ctx, w.cfg, w.runtime(), &out)
			if (err == nil) != (tt.row == "") {
				t.Errorf("error %v", err)
			}
			if !regexp.MustCompile(tt.row).MatchString(out.String()) {
				t.Errorf("no row %q in\n%s", tt.row, out.String())
			}
		})
	}
}

func TestConfigIsRefused(t *testing.T) {
	t.Parallel()
	good := func() Config {
		c := DefaultConfig()
		c.Tenants = []Tenant{{ID: fakeTenant, ClientID: fakeTenant, Secret: conf.SecretFile("/run/secrets/m365")}}
		return c
	}
	if err := good().Validate(); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		spoil func(*Config)
		want  string
	}{
		{func(c *Config) { c.Tenants = nil }, "tenants: name at least one"},
		{func(c *Config) { c.Tenants[0].ID = "example.org" }, "tenants.0.id: "},
		{func(c *Config) { c.Tenants[0].ClientID = "" }, "tenants.0.client_id: "},
		{func(c *Config) { c.Tenants[0].Secret = conf.Secret{} }, "tenants.0.client_secret: "},
		{func(c *Config) { c.Tenants[0].CertificateFile = "x" }, "tenants.0.client_secret: "},
		{func(c *Config) { c.Tenants[0].Cloud = "mars" }, "tenants.0.cloud: "},
		{func(c *Config) { c.Tenants[0].Hosts.API = "http://x" }, "tenants.0.hosts.api: "},
		{func(c *Config) { c.Tenants[0].Components = []string{"files"} }, "files is not supported yet"},
		{func(c *Config) { c.Tenants[0].Components = []string{"sites"} }, "tenants.0.components: "},
		{func(c *Config) { c.Tenants[0].ContentTypes = []string{"Audit.Teams"} }, "tenants.0.content_types: "},
		{func(c *Config) { c.Tenants[0].PublisherID = "me" }, "tenants.0.publisher_id: "},
		{func(c *Config) { c.Tenants = append(c.Tenants, c.Tenants[0]) }, "tenants.1.id: "},
		{func(c *Config) { c.Kafka.Brokers = nil }, "kafka.brokers: "},
		{func(c *Config) { c.Limits.MaxBlob = 1 }, "limits.max_blob: "},
		{func(c *Config) { c.Limits.Memory = 1 }, "limits.memory: "},
		{func(c *Config) { c.Limits.PollSlowest = 0 }, "limits.poll_fastest: "},
		{func(c *Config) { c.Limits.RetryWait = 0 }, "limits.retry_wait"},
	}
	for _, tt := range tests {
		c := good()
		tt.spoil(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("error %v, want %q", err, tt.want)
		}
	}
}

// TestCommandLine runs the program as main does.
func TestCommandLine(t *testing.T) {
	t.Parallel()
	tests := []struct {
		args     []string
		code     int
		out, err string
	}{
		{nil, 2, "", "tenants: name at least one"},
		{[]string{"-topics"}, 0, "kafka-topics.sh", ""},
		{[]string{"import"}, 2, "", "name at least one file"},
		{[]string{"import", "/nowhere/file.csv"}, 1, "", "/nowhere/file.csv"},
		{[]string{"imprt"}, 2, "", "import"},
		{[]string{"-set", "tennants=1"}, 2, "", "tenants"},
	}
	for _, tt := range tests {
		var out, errs bytes.Buffer
		code := service.Run(t.Context(), Program(), tt.args, nil, nil, &out, &errs)
		if code != tt.code || !strings.Contains(out.String(), tt.out) || !strings.Contains(errs.String(), tt.err) {
			t.Errorf("%v: exit %d, want %d\n%s\n%s", tt.args, code, tt.code, out.String(), errs.String())
		}
	}
}

func TestStartIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 500, nil)
	wrong := w.cfg
	wrong.Tenants = []Tenant{w.cfg.Tenants[0]}
	wrong.Tenants[0].Secret = conf.SecretValue("swordfish")
	if _, err := New(t.Context(), wrong, w.runtime()); err == nil || !strings.Contains(err.Error(), "AADSTS7000215") || strings.Contains(err.Error(), "swordfish") {
		t.Errorf("wrong secret: %v", err)
	}
	nobody := w.cfg
	nobody.Kafka.Brokers = []string{"127.0.0.1:1"}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := New(ctx, nobody, w.runtime()); err == nil || !strings.Contains(err.Error(), "127.0.0.1:1") || ctx.Err() != nil {
		t.Errorf("no broker: %v", err)
	}
}
