package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"millrace/internal/conf"
	"millrace/internal/m365sim"
	"millrace/internal/m365sim/tenant"
	"millrace/internal/service"
	"millrace/pkg/audit"
)

// TestCheckNamesWhatIsBroken breaks one prerequisite after the other at the simulator: the row says which, its remedy what to do, and -check fails.
func TestCheckNamesWhatIsBroken(t *testing.T) {
	t.Parallel()
	app := func(roles ...string) func(*m365sim.Config) {
		return func(c *m365sim.Config) {
			c.Apps = []m365sim.App{{ClientID: m365sim.DefaultClientID, Secret: m365sim.DefaultClientSecret, Roles: roles}}
		}
	}
	always := func(fault, endpoint string) func(*m365sim.Config) {
		return func(c *m365sim.Config) {
			c.Faults = []m365sim.Fault{{Name: fault, Endpoint: endpoint, Rate: 1}}
		}
	}
	nobody := "https://127.0.0.1:1"
	graph := graphRoles()
	feed := []string{roleFeed, roleDLP}
	tests := []struct {
		name   string
		sim    func(*m365sim.Config)
		change func(*world)
		want   row // Reading and Remedy as regular expressions
		fine   bool
	}{
		{name: "all well", want: row{Number: "K3", State: stateOK, Reading: "enabled"}, fine: true},
		{
			name: "no licence", sim: func(c *m365sim.Config) { c.Unlicensed = true },
			want: row{Number: "K1", State: stateFailed, Reading: "AF20012", Remedy: "assign at least one Microsoft 365 licence"},
		},
		{
			name: "no licence, seen by Graph", sim: func(c *m365sim.Config) { c.Unlicensed = true }, change: func(w *world) { w.cfg.Tenants[0].Components = []string{componentDirectory} },
			want: row{Number: "K1", State: stateFailed, Reading: "none", Remedy: "assign at least one Microsoft 365 licence"},
		},
		{
			name: "licences are not to be read", sim: app(append(feed, graph...)...), fine: true,
			want: row{Number: "K1", State: stateUnknown, Reading: "403", Remedy: "LicenseAssignment.Read.All"},
		},
		{
			name: "auditing off", sim: func(c *m365sim.Config) { c.AuditingOff = true },
			want: row{Number: "K2", State: stateFailed, Remedy: "turn unified audit logging on .*60 minutes"},
		},
		{
			name: "auditing off, K3", sim: func(c *m365sim.Config) { c.AuditingOff = true },
			want: row{Number: "K3", State: stateUnknown, Remedy: "see K2"},
		},
		{
			name: "feed in trouble", sim: always(m365sim.FaultGateway, "list"),
			want: row{Number: "K3", What: "feed", State: stateFailed, Reading: "status 503", Remedy: "trouble at the service"},
		},
		{
			name: "listing in trouble", sim: always(m365sim.FaultInternal, "content"),
			change: func(w *world) { w.cfg.Tenants[0].ContentTypes = []string{string(audit.DLP)} },
			want:   row{Number: "K3", What: "subscription DLP.All", State: stateFailed, Reading: "AF50000", Remedy: "internal error"},
		},
		{
			name: "subscription stopped", change: func(w *world) {
				if err := stopSubscription(w.t.Context(), w.cfg, w.cfg.Tenants[0].ID, audit.Exchange); err != nil {
					w.t.Fatal(err)
				}
			},
			want: row{Number: "K3", What: "subscription Audit.Exchange", State: stateFailed, Reading: "disabled", Remedy: "start the ingester"},
		},
		{
			name: "never started", sim: func(c *m365sim.Config) { c.AlwaysSubscribed = false }, fine: true,
			want: row{Number: "K3", What: "subscription DLP.All", State: stateOK, Reading: "not started", Remedy: "the ingester starts it"},
		},
		{name: "mailbox auditing", want: row{Number: "K4", State: stateUnknown, Reading: "cannot be read here", Remedy: "AuditDisabled: False"}, fine: true},
		{name: "Power BI", want: row{Number: "K6", State: stateUnknown, Reading: "cannot be read here", Remedy: "24 to 72 hours"}, fine: true},
		{name: "Dynamics", want: row{Number: "K7", State: stateUnknown, Reading: "cannot be read here", Remedy: "24 to 72 hours"}, fine: true},
		{
			name: "no premium", sim: func(c *m365sim.Config) { c.NoPremium = true },
			want: row{Number: "K8", State: stateFailed, Reading: "absent", Remedy: "P1 or P2"},
		},
		{
			name: "no premium, by the log of sign-ins", sim: func(c *m365sim.Config) {
				app(slices.Concat(feed, graph, []string{"AuditLog.Read.All"})...)(c)
				c.NoPremium = true
			},
			want: row{Number: "K8", State: stateFailed, Reading: "absent", Remedy: "P1 or P2"},
		},
		{
			name: "no premium, and that is known", sim: func(c *m365sim.Config) { c.NoPremium = true }, change: func(w *world) { w.cfg.Tenants[0].Waive = []string{"K8"} },
			want: row{Number: "K8", State: stateWaived, Reading: "absent"}, fine: true,
		},
		{
			name: "no ReadDlp", sim: app(roleFeed, "Directory.Read.All"),
			want: row{Number: "K9", State: stateFailed, Reading: "^missing ActivityFeed.ReadDlp$", Remedy: "grant admin consent: https://.*/adminconsent"},
		},
		{
			name: "one role of Graph covers others", sim: app(roleFeed, roleDLP, "Directory.Read.All"),
			want: row{Number: "K9", State: stateOK, Reading: "User.Read.All"}, fine: true,
		},
		{
			name: "roles of Graph", sim: app(append(feed, "User.Read.All", "Group.Read.All", "Domain.Read.All")...),
			want: row{Number: "K9", State: stateFailed, Reading: "^missing Application.Read.All$", Remedy: "grant admin consent"},
		},
		{
			name: "wrong secret", change: func(w *world) { w.cfg.Tenants[0].Secret = conf.SecretValue("swordfish") },
			want: row{Number: "K9", State: stateFailed, Reading: "^sign in: AADSTS7000215$", Remedy: "client secret is wrong"},
		},
		{
			name: "clock", sim: func(c *m365sim.Config) { c.ClockSkew = 11 * time.Minute },
			want: row{Number: "K11", State: stateFailed, Reading: "^1[01]m", Remedy: "NTP"},
		},
		{
			name: "no sign-in host", change: func(w *world) { w.cfg.Tenants[0].Hosts.Authority = nobody },
			want: row{Number: "K12", What: "network: sign-in", State: stateFailed, Reading: "refused", Remedy: "allow .*127.0.0.1:1"},
		},
		{
			name: "no feed", change: func(w *world) { w.cfg.Tenants[0].Hosts.API = nobody },
			want: row{Number: "K12", What: "network: audit feed", State: stateFailed, Reading: "refused", Remedy: "allow .*127.0.0.1:1"},
		},
		{
			name: "no Graph", change: func(w *world) { w.cfg.Tenants[0].Hosts.Graph = nobody },
			want: row{Number: "K12", What: "network: Graph", State: stateFailed, Reading: "refused", Remedy: "allow .*127.0.0.1:1"},
		},
		{
			name: "foreign authorities", change: func(w *world) { w.cfg.Tenants[0].CAFile = "" },
			want: row{Number: "K12", State: stateFailed, Reading: "unknown authority", Remedy: "ca_file"},
		},
		{
			name: "no authorities", change: func(w *world) { w.cfg.Tenants[0].CAFile = "/nowhere/ca.pem" },
			want: row{What: "configuration", State: stateFailed, Reading: "/nowhere/ca.pem", Remedy: "correct tenants.0"},
		},
		{
			name: "paused", change: func(w *world) { w.cfg.Tenants = []Tenant{{ID: fakeTenant, Paused: true}} },
			want: row{What: "tenant", State: stateWarning, Reading: "paused", Remedy: "7 days"}, fine: true,
		},
		{
			name: "no broker", change: func(w *world) { w.cfg.Kafka.Brokers = []string{"127.0.0.1:1"} },
			want: row{What: "kafka", State: stateFailed, Reading: "127.0.0.1:1", Remedy: "nobody listens"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 200, tt.sim)
			if tt.change != nil {
				tt.change(w)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			var out bytes.Buffer
			if err := CheckJSON(ctx, w.cfg, w.runtime(), &out); (err == nil) != tt.fine || err != nil && !errors.Is(err, service.ErrReported) {
				t.Errorf("error %v", err)
			}
			if !hasRow(t, out.Bytes(), tt.want) {
				t.Errorf("no row like %+v in\n%s", tt.want, out.String())
			}
			if strings.Contains(out.String(), "swordfish") {
				t.Error("the secret is shown")
			}
		})
	}
}

// hasRow looks for a row of which the given parts are so.
func hasRow(t *testing.T, text []byte, want row) bool {
	t.Helper()
	for line := range bytes.Lines(text) {
		var r row
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if r.Number == want.Number && r.State == want.State && (want.What == "" || want.What == r.What) &&
			regexp.MustCompile(want.Reading).MatchString(r.Reading) && regexp.MustCompile(want.Remedy).MatchString(r.Remedy) {
			return true
		}
	}
	return false
}

// TestCheckOfManyTenants: rows come in the order of the configuration, and the table says how many failed.
func TestCheckOfManyTenants(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 100, func(c *m365sim.Config) {
		for seed := range uint64(2 * inspectAtOnce) {
			c.Tenants = append(c.Tenants, tenant.Config{Seed: 100 + seed, Records: 50, LiveRate: -1})
		}
		c.NoPremium = true
	})
	var out bytes.Buffer
	if err := Check(t.Context(), w.cfg, w.runtime(), &out); !errors.Is(err, service.ErrReported) {
		t.Errorf("error %v", err)
	}
	at := 0
	for _, tn := range w.cfg.Tenants {
		next := strings.Index(out.String()[at:], tn.ID)
		if next < 0 {
			t.Fatalf("tenant %s is not where it should be in\n%s", tn.ID, out.String())
		}
		at += next
	}
	if want := fmt.Sprintf("%d of ", len(w.cfg.Tenants)); !strings.Contains(out.String(), want) || !strings.Contains(out.String(), "FAILED: follow their remedies") {
		t.Errorf("no verdict %q in\n%s", want, out.String())
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
		{func(c *Config) { c.Tenants[0].Waive = []string{"K4"} }, "tenants.0.waive: "},
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
