// Command m365sim runs a simulated Microsoft 365: sign-in, the Management Activity API and parts of Graph, with an invented tenant.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"millrace/internal/m365sim"
	"millrace/internal/m365sim/tenant"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// maxTenants is as many tenants as one process may invent.
const maxTenants = 1000

// stopTime bounds how long a stop waits for requests that are being answered.
const stopTime = 5 * time.Second

func run(args []string, stdout, stderr io.Writer) int {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := command(ctx, args, stdout, stderr); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		fmt.Fprintln(stderr, "m365sim:", err)
		return 1
	}
	return 0
}

func command(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) > 0 {
		switch args[0] {
		case "probe":
			return probe(ctx, args[1:], stderr)
		case "dump":
			return dump(ctx, args[1:], stdout, stderr)
		case "verify":
			return verify(ctx, args[1:], stdout, stderr)
		case "report":
			return compare(ctx, args[1:], stdout, stderr)
		}
	}
	cfg, addr, err := parse(args, stderr)
	if err != nil {
		return err
	}
	return serve(ctx, cfg, addr, stdout)
}

func serve(ctx context.Context, cfg m365sim.Config, addr string, stdout io.Writer) (err error) {
	s, err := m365sim.New(cfg)
	if err != nil {
		return err
	}
	defer func() {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
		defer cancel()
		err = errors.Join(err, s.Close(stop))
	}()
	if err := s.Start(addr); err != nil {
		return err
	}
	if err := banner(stdout, s, cfg); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

func banner(w io.Writer, s *m365sim.Server, cfg m365sim.Config) error {
	var tenants strings.Builder
	for _, t := range s.Tenants() {
		fmt.Fprintf(&tenants, "  tenant              %s (%s)\n", t.ID(), t.DomainNames()[0])
	}
	t := s.Tenants()[0]
	_, err := fmt.Fprintf(w, `m365sim is ready. What a client needs:
  all three services  %s
  CA to trust         %s
%s  client id           %s
  client secret       %s
  tenant's clock      week of %d records before %s, %d people, then %g records a second
  simulated time      %g times as fast as the machine's; %s/_sim/clock tells it
  ledger              %s/_sim/ledger
`, s.URL(), s.CAFile(), &tenants, cfg.Apps[0].ClientID, cfg.Apps[0].Secret, t.Config().Records, t.Config().Origin.Format(time.RFC3339), len(t.Users()),
		max(t.Config().LiveRate, 0), cfg.Speed, s.URL(), s.URL())
	return err
}

func parse(args []string, stderr io.Writer) (m365sim.Config, string, error) {
	var cfg m365sim.Config
	var tc tenant.Config
	var app m365sim.App
	fs := flag.NewFlagSet("m365sim", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.Usage = func() {
		fmt.Fprint(stderr, usage)
		fs.PrintDefaults()
	}
	addr := fs.String("addr", "127.0.0.1:8443", "`address` to listen on; 127.0.0.1:0 takes any free port")
	fs.BoolVar(&cfg.AllowRemote, "allow-remote", false, "permit an address that is not loopback: everybody who reaches it can have tokens")
	fs.StringVar(&cfg.Dir, "dir", "", "`folder` for the CA, clock origin, subscriptions and ledger, kept over restarts (default: a temporary one)")
	fs.Func("host", "further `name` or address for the certificate; may be repeated", func(v string) error { cfg.Hosts = append(cfg.Hosts, v); return nil })
	tenantFlags(fs, &tc)
	fs.StringVar(&app.ClientID, "client-id", m365sim.DefaultClientID, "client `id` of the registered app")
	fs.StringVar(&app.Secret, "client-secret", m365sim.DefaultClientSecret, "its `secret`")
	hookCA := fs.String("webhook-ca", "", "PEM `file` with certificates that receivers of webhooks may be signed by, besides the system's")
	cert := fs.String("certificate", "", "PEM `file` with a certificate that may sign its client assertions")
	serviceFlags(fs, &cfg)
	tenants := fs.Int("tenants", 1, "number of tenants; the seeds of the others follow -seed")
	verbose := fs.Bool("v", false, "log to stderr")
	if err := fs.Parse(args); err != nil {
		return cfg, "", err
	}
	if fs.NArg() > 0 {
		return cfg, "", fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	if *cert != "" {
		text, err := os.ReadFile(*cert)
		if err != nil {
			return cfg, "", fmt.Errorf("read certificate: %w", err)
		}
		app.Certificates = text
	}
	if *hookCA != "" {
		text, err := os.ReadFile(*hookCA)
		if err != nil {
			return cfg, "", fmt.Errorf("read the CA of webhooks: %w", err)
		}
		cfg.WebhookCAs = text
	}
	if *verbose {
		cfg.Logger = slog.New(slog.NewJSONHandler(stderr, nil))
	}
	if *tenants < 1 || *tenants > maxTenants {
		return cfg, "", fmt.Errorf("-tenants is %d, want 1 to %d", *tenants, maxTenants)
	}
	for range *tenants {
		cfg.Tenants = append(cfg.Tenants, tc)
		tc.Seed++
	}
	cfg.Apps = []m365sim.App{app}
	return cfg, *addr, nil
}

// serviceFlags adds the flags that say how the services behave.
func serviceFlags(fs *flag.FlagSet, cfg *m365sim.Config) {
	fs.BoolVar(&cfg.AlwaysSubscribed, "subscribed", false, "start with subscriptions that are a week old, so that the whole week is there")
	fs.DurationVar(&cfg.Backfill, "backfill", m365sim.DefaultBackfill, "how far before its start a new subscription sees content; -1s for not at all")
	fs.DurationVar(&cfg.FirstContentDelay, "first-content-delay", 0, "how long a new subscription lists nothing")
	fs.IntVar(&cfg.PageSize, "page-size", m365sim.DefaultPageSize, "blobs on a page of a listing")
	fs.BoolVar(&cfg.NoGzip, "no-gzip", false, "never compress answers, also when the client asks for it")
	fs.BoolVar(&cfg.TolerantWindows, "tolerant-windows", false, "answer windows longer than 24 hours in part instead of refusing them")
	fs.IntVar(&cfg.Quota, "quota", m365sim.DefaultQuota, "requests a minute for each tenant; -1 for no limit")
	fs.IntVar(&cfg.ThrottleStatus, "throttle-status", 403, "HTTP `status` of AF429: 403 or 429")
	fs.DurationVar(&cfg.RetryAfter, "retry-after", 0, "Retry-After of throttled answers; 0 sends none")
	fs.DurationVar(&cfg.TokenLife, "token-life", m365sim.DefaultTokenLife, "how long access tokens are valid")
	fs.Float64Var(&cfg.Speed, "speed", 1, "simulated seconds in a second: windows, expiry, quota, tokens and the tenant's life follow the simulated clock")
	fs.DurationVar(&cfg.ClockSkew, "clock-skew", 0, "added to the Date header")
	fs.BoolVar(&cfg.AuditingOff, "auditing-off", false, "answer as if unified auditing were switched off")
	fs.BoolVar(&cfg.Unlicensed, "unlicensed", false, "answer AF20012, as for a tenant without licences")
	fs.BoolVar(&cfg.ManagedIdentity, "managed-identity", false, "answer /metadata/identity/oauth2/token, the endpoint of a machine with an identity")
	fs.BoolVar(&cfg.NoPremium, "no-premium", false, "refuse Graph sign-in logs, as for a tenant without Entra P1")
	fs.Func("fault", "`name=rate[@endpoint]`, such as internal=0.05@blob; may be repeated", func(v string) error {
		f, err := m365sim.ParseFault(v)
		cfg.Faults = append(cfg.Faults, f)
		return err
	})
}

// tenantFlags adds the flags that say which tenant it is.
func tenantFlags(fs *flag.FlagSet, tc *tenant.Config) {
	fs.Uint64Var(&tc.Seed, "seed", 0, "`number` from which the tenant is invented; the same seed and origin give the same bytes")
	fs.StringVar(&tc.Size, "size", tenant.Small, "`small` (20,000 records in the week), medium (100,000 a day) or large (10 million a week)")
	fs.IntVar(&tc.Records, "records", 0, "distinct records of the tenant's week (default: by -size)")
	fs.IntVar(&tc.Users, "users", 0, "size of the population (default: grows with the records)")
	fs.Float64Var(&tc.LiveRate, "live-rate", 0, "records a second after the start; -1 for none (default: by -size)")
	fs.Func("origin", "the tenant's `time` zero, RFC 3339 (default: the one kept in -dir, or now)", func(v string) (err error) { tc.Origin, err = time.Parse(time.RFC3339, v); return err })
}

const usage = `m365sim is a Microsoft 365 for people who build collectors of audit records.

One TLS listener serves the sign-in endpoint, the Management Activity API and the
parts of Graph that a collector needs, with an invented tenant whose records
follow from a seed. It is strict where the real service is strict, repeats and
delays records as the real service does, fails on demand, and keeps a ledger of
what it had and what it served. docs/simulator.md is its manual.

  m365sim                                  a tenant with 20,000 records in its week
  m365sim -subscribed -size medium         the whole week is there at once
  m365sim -speed 1000                      a week passes in ten minutes
  m365sim -dir ./sim -fault cut=0.05@blob  kept over restarts; 5 % of downloads break
  m365sim probe -dir ./sim                 exit 0 if the simulator of that folder answers
  m365sim dump -seed 7 -records 1000       the records of a week as NDJSON, no server
  m365sim verify -dir ./sim -brokers HOST  hold the topics against what the tenant has
  m365sim report -records 100000 FILE…     how they look beside the records of files

Faults: throttle403 throttle429 internal gateway unauthorized drop lost cut truncated
Endpoints: token start stop list content blob notifications resources graph

Flags:
`
