// Package m365sim is a Microsoft 365 for tests and demonstrations: the sign-in endpoint, the Management Activity API and the parts of
// Graph that a collector of audit records needs, on one TLS listener, fed by invented tenants.
//
// It is strict where the real service is strict, repeats records and lists blobs late as the real service does, fails on demand, and
// keeps a ledger of what it had and what it served, so that a test can prove that a client missed nothing.
// It shares no type with the project's own client: a shared struct would hide a shared mistake.
package m365sim

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"millrace/internal/m365sim/tenant"
)

// Defaults of Config.
const (
	DefaultClientID     = "8d1f2c3a-0b4e-4a55-9c66-7d7788990a0b"
	DefaultClientSecret = "simulator-secret"
	DefaultQuota        = 2000
	DefaultPageSize     = 200
	DefaultBackfill     = 22 * time.Hour
	DefaultTokenLife    = time.Hour
)

// App is an application registration known to the sign-in endpoint. Each app may use its secret or one of its certificates.
type App struct {
	ClientID string
	// Secret is the client secret; empty means that the app has none.
	Secret string
	// SecretExpires is when the secret stops working; the zero time means never.
	SecretExpires time.Time
	// Disabled is an app that an administrator has switched off.
	Disabled bool
	// Certificates are PEM encoded certificates whose keys may sign client assertions.
	Certificates []byte
	// Federated are the issuers whose tokens the app may sign in with instead (workload identity federation).
	Federated []FederatedCredential
	// Roles are the application permissions. Default: everything that the simulator knows.
	Roles []string
}

// FederatedCredential trusts the tokens of another issuer that have the audience api://AzureADTokenExchange.
type FederatedCredential struct {
	Issuer  string
	Subject string
	// PublicKey is the issuer's PEM encoded RSA or EC public key.
	PublicKey []byte
}

// Config says what the simulator is. The zero value of each field means its default.
type Config struct {
	// Tenants are the directories; a zero Origin means the one kept in Dir, or now. Default: one tenant of seed 0.
	Tenants []tenant.Config
	// Apps are the application registrations, known in every tenant. Default: one with DefaultClientID and DefaultClientSecret.
	Apps []App
	// Dir keeps the CA, the clock origin, subscriptions and the ledger over a restart. Default: a temporary folder, removed by Close.
	Dir string
	// Hosts are further names and addresses for the certificate. Loopback ones are always in it.
	Hosts []string
	// AllowRemote permits Start on an address that is not loopback.
	AllowRemote bool

	// AlwaysSubscribed starts with subscriptions a week old, so that a client finds the whole week.
	AlwaysSubscribed bool
	// Backfill is how far before its start a new subscription sees content. Default 22 h; negative means none.
	Backfill time.Duration
	// FirstContentDelay is how long a new subscription lists nothing.
	FirstContentDelay time.Duration
	// PageSize is the number of blobs on a page of a listing. Default 200.
	PageSize int
	// NoGzip answers uncompressed even when the client asks for gzip: on loopback the compression costs more than the bytes.
	NoGzip bool
	// TolerantWindows lets windows longer than 24 hours pass, answered in part, as some deployments do.
	TolerantWindows bool

	// Quota is the number of requests a minute for each tenant. Default 2,000; negative means no limit.
	Quota int
	// ThrottleStatus is the HTTP status of AF429: 403 (default) or 429.
	ThrottleStatus int
	// RetryAfter is the Retry-After of throttled answers; zero sends none, as the real feed does.
	RetryAfter time.Duration
	// TokenLife is how long tokens are valid. Default 1 h.
	TokenLife time.Duration
	// ClockSkew is added to the Date header.
	ClockSkew time.Duration
	// AuditingOff makes the feed of every tenant answer as if unified auditing were switched off.
	AuditingOff bool
	// Unlicensed makes the feed answer AF20012.
	Unlicensed bool
	// ManagedIdentity answers GET /metadata/identity/oauth2/token, the endpoint of a machine with an identity, with tokens of the
	// first app in the first tenant.
	ManagedIdentity bool
	// NoPremium makes Graph sign-in logs answer as for a tenant without Entra P1.
	NoPremium bool
	// Faults are active from the start.
	Faults []Fault

	// WebhookClient calls webhooks. Default: a client that trusts the system's roots, the simulator's CA and WebhookCAs, shows the
	// simulator's certificate to receivers that ask for one, and waits for 10 s.
	WebhookClient *http.Client
	// WebhookCAs are PEM encoded certificates that receivers of webhooks may be signed by.
	WebhookCAs []byte
	// SkipWebhookValidation accepts every webhook address without calling it.
	SkipWebhookValidation bool
	// WebhookFailures is the number of failed deliveries after which a webhook is disabled. Default 10.
	WebhookFailures int

	Logger     *slog.Logger          // default: none
	Registerer prometheus.Registerer // default: unregistered
	Clock      func() time.Time      // the machine's clock; default: time.Now

	// Speed makes the simulated clock run so many times as fast as Clock, from the first start of the folder on. Default 1.
	Speed float64
}

func (c Config) withDefaults() (Config, error) {
	if len(c.Tenants) == 0 {
		c.Tenants = []tenant.Config{{}}
	}
	if len(c.Apps) == 0 {
		c.Apps = []App{{ClientID: DefaultClientID, Secret: DefaultClientSecret}}
	}
	if c.Backfill == 0 {
		c.Backfill = DefaultBackfill
	}
	if c.PageSize == 0 {
		c.PageSize = DefaultPageSize
	}
	if c.Quota == 0 {
		c.Quota = DefaultQuota
	}
	if c.ThrottleStatus == 0 {
		c.ThrottleStatus = http.StatusForbidden
	}
	if c.TokenLife == 0 {
		c.TokenLife = DefaultTokenLife
	}
	if c.WebhookFailures == 0 {
		c.WebhookFailures = 10
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Speed == 0 {
		c.Speed = 1
	}
	switch {
	case !(c.Speed > 0 && c.Speed <= maxSpeed): // NaN too
		return c, fmt.Errorf("m365sim: Speed is %g, want more than 0 and at most %d", c.Speed, maxSpeed)
	case c.PageSize < 1:
		return c, fmt.Errorf("m365sim: PageSize is %d, want at least 1", c.PageSize)
	case c.ThrottleStatus != http.StatusForbidden && c.ThrottleStatus != http.StatusTooManyRequests:
		return c, fmt.Errorf("m365sim: ThrottleStatus is %d, want 403 or 429", c.ThrottleStatus)
	}
	for _, f := range c.Faults {
		if err := f.validate(); err != nil {
			return c, err
		}
	}
	return c, nil
}

// Server is the simulator. It is an http.Handler; which of the three services a request means is told by its path.
type Server struct {
	cfg     Config
	log     *slog.Logger
	tenants map[string]*tenant.Tenant
	order   []*tenant.Tenant
	apps    map[string]*registration
	keys    *tokenKeys
	ca      *authority
	journal *journal
	clock   clock
	tempDir string

	subs    *subscriptions
	quota   *quotas
	faults  *faultTable
	books   *books
	feed    *http.ServeMux
	graph   *http.ServeMux
	signIn  *http.ServeMux
	control *http.ServeMux

	mu       sync.Mutex // guards listener, server and done
	listener net.Listener
	server   *http.Server
	done     chan struct{}
	hooks    *webhooks
	keeper   loop
	saved    []byte // counts as they lie in the folder
}

// New builds a simulator. It generates keys on first use of a folder and plans every tenant's week; it opens no port.
func New(cfg Config) (*Server, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, log: cfg.Logger, tenants: map[string]*tenant.Tenant{}, apps: map[string]*registration{}}
	if cfg.Dir == "" {
		if s.tempDir, err = os.MkdirTemp("", "m365sim-"); err != nil {
			return nil, fmt.Errorf("m365sim: make a folder: %w", err)
		}
		s.cfg.Dir = s.tempDir
	}
	if err := s.setUp(); err != nil {
		if s.journal != nil {
			err = errors.Join(err, s.journal.close())
		}
		if s.tempDir != "" {
			err = errors.Join(err, os.RemoveAll(s.tempDir))
		}
		return nil, err
	}
	return s, nil
}

func (s *Server) setUp() error {
	if err := os.MkdirAll(s.cfg.Dir, 0o700); err != nil {
		return fmt.Errorf("m365sim: make folder %s: %w", s.cfg.Dir, err)
	}
	var err error
	if s.ca, err = loadAuthority(s.cfg.Dir, s.cfg.Hosts, s.cfg.Clock()); err != nil {
		return err
	}
	if s.cfg.WebhookClient == nil {
		if s.cfg.WebhookClient, err = s.ca.webhookClient(s.cfg.WebhookCAs); err != nil {
			return err
		}
	}
	if s.keys, err = loadTokenKeys(s.cfg.Dir); err != nil {
		return err
	}
	for _, a := range s.cfg.Apps {
		reg, err := newRegistration(a)
		if err != nil {
			return err
		}
		s.apps[strings.ToLower(a.ClientID)] = reg
	}
	var past []event
	if s.journal, past, err = openJournal(s.cfg.Dir); err != nil {
		return err
	}
	if err := s.setClock(past); err != nil {
		return err
	}
	s.subs, s.quota, s.books = newSubscriptions(), newQuotas(s.cfg.Quota), newBooks()
	s.faults = newFaultTable(s.cfg.Faults, s.now, s.books.fault)
	if err := s.makeTenants(past); err != nil {
		return err
	}
	if err := s.remember(past); err != nil {
		return err
	}
	if s.cfg.Registerer != nil {
		if err := s.register(s.cfg.Registerer); err != nil {
			return err
		}
	}
	s.hooks = newWebhooks(s)
	s.feed, s.graph, s.signIn, s.control = s.feedRoutes(), s.graphRoutes(), s.signInRoutes(), s.controlRoutes()
	return nil
}

// key is the name of a tenant in tables and in the journal.
func (s *Server) key(t *tenant.Tenant) string { return strings.ToLower(t.ID()) }

// makeTenants makes the tenants, those that the journal knows with the origin that they had.
func (s *Server) makeTenants(past []event) error {
	setups := map[string]tenant.Config{}
	for _, e := range past {
		if e.Kind == eventOrigin && e.Setup != nil {
			setups[e.Tenant] = *e.Setup
		}
	}
	now := s.now()
	for _, tc := range s.cfg.Tenants {
		id := strings.ToLower(tc.ID())
		if tc.Origin.IsZero() {
			tc.Origin = setups[id].Origin
		}
		if tc.Origin.IsZero() {
			tc.Origin = now
		}
		t, err := tenant.New(tc)
		if err != nil {
			return err
		}
		if s.tenants[id] != nil {
			return fmt.Errorf("m365sim: tenant %s is configured twice", id)
		}
		setup := t.Config()
		switch old, known := setups[id]; {
		case !known || !old.Origin.Equal(setup.Origin):
			if err := s.journal.write(event{Kind: eventOrigin, Tenant: id, At: setup.Origin, Setup: &setup}); err != nil {
				return err
			}
		case describe(old) != describe(setup):
			return fmt.Errorf("m365sim: folder %s has tenant %s with %s, now it would have %s; keep the settings or use another folder", s.cfg.Dir, id, describe(old), describe(setup))
		}
		s.tenants[id], s.order = t, append(s.order, t)
	}
	return nil
}

// remember applies what the folder knows of earlier runs.
func (s *Server) remember(past []event) (err error) {
	for _, e := range past {
		s.subs.apply(e)
		if t := s.tenants[e.Tenant]; t != nil {
			s.books.apply(e, t.Expiration(e.ContentID))
		}
	}
	if s.books.counts, err = readCounts(s.cfg.Dir); err != nil {
		return err
	}
	if err := s.compact(past); err != nil {
		return err
	}
	if s.cfg.AlwaysSubscribed {
		return s.subscribeAll()
	}
	return nil
}

// describe says what the bytes of a tenant follow from besides its id and origin.
func describe(c tenant.Config) string {
	return fmt.Sprintf("seed %d, %d records, %d users, %g records/s afterwards, a large record of %d bytes", c.Seed, c.Records, c.Users, c.LiveRate, c.LargeRecord)
}

// Tenants returns the tenants in the order of the configuration.
func (s *Server) Tenants() []*tenant.Tenant { return s.order }

// now is the simulator's clock.
func (s *Server) now() time.Time { return s.clock.now() }

// Limits on what a client may make the simulator hold.
const (
	maxHeaderBytes = 64 << 10
	maxBodyBytes   = 64 << 10
	maxURLBytes    = 8 << 10
)

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.cfg.NoGzip {
		r.Header.Del("Accept-Encoding")
	}
	h := w.Header()
	h.Set("Date", s.now().Add(s.cfg.ClockSkew).Format(http.TimeFormat))
	if len(r.URL.Path)+len(r.URL.RawQuery) > maxURLBytes {
		http.Error(w, "Request URL Too Long", http.StatusRequestURITooLong)
		return
	}
	if r.Method == http.MethodHead { // the services know GET and POST; a HEAD would count as a download
		w.Header().Set("Allow", "GET, POST")
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBodyBytes)
	switch path := r.URL.Path; {
	case strings.HasPrefix(path, "/api/"):
		s.feed.ServeHTTP(w, r)
	case strings.HasPrefix(path, "/v1.0/"), strings.HasPrefix(path, "/beta/"):
		s.graph.ServeHTTP(w, r)
	case strings.HasPrefix(path, "/_sim/"):
		s.control.ServeHTTP(w, r)
	default:
		if strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ") {
			s.books.improper("access token sent to the sign-in endpoint")
		}
		s.signIn.ServeHTTP(w, r)
	}
}

// Start listens on addr ("127.0.0.1:0" for any free port) and serves until Close.
func (s *Server) Start(addr string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.server != nil {
		return errors.New("m365sim: already started")
	}
	if err := s.checkAddr(addr); err != nil {
		return err
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(context.Background(), "tcp", addr)
	if err != nil {
		return fmt.Errorf("m365sim: listen on %s: %w (is another program using the port?)", addr, err)
	}
	s.listener = ln
	s.server = &http.Server{
		Handler:           s,
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{s.ca.leaf}, MinVersion: tls.VersionTLS12},
		TLSNextProto:      map[string]func(*http.Server, *tls.Conn, http.Handler){}, // HTTP/1.1, as the real feed answers
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      5 * time.Minute,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(slog.DiscardHandler, slog.LevelError), // cut connections are ours, and handshake noise is the client's
	}
	s.done = make(chan struct{})
	go func(srv *http.Server, done chan struct{}) {
		defer close(done)
		if err := srv.ServeTLS(ln, "", ""); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("simulator stopped serving", "err", err)
		}
	}(s.server, s.done)
	s.hooks.start(s.hooks.run)
	s.keeper.start(s.keep)
	return nil
}

func (s *Server) checkAddr(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("m365sim: address %q: %w", addr, err)
	}
	if ip := net.ParseIP(host); s.cfg.AllowRemote || host == "localhost" || ip != nil && ip.IsLoopback() {
		return nil
	}
	return fmt.Errorf("m365sim: %q is not a loopback address; the simulator hands out tokens to anybody, so other addresses must be allowed explicitly", addr)
}

// URL returns the base of all three services, such as https://127.0.0.1:8443. It is empty before Start.
func (s *Server) URL() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener == nil {
		return ""
	}
	return "https://" + s.listener.Addr().String()
}

// CAFile returns the path of the PEM file that clients must trust.
func (s *Server) CAFile() string { return s.ca.path }

// Close stops serving, waits for requests until ctx ends, then cuts off the rest, and writes what is to be kept. A client that keeps a
// connection open without a word is no reason to fail.
func (s *Server) Close(ctx context.Context) error {
	s.mu.Lock()
	srv, done := s.server, s.done
	s.server, s.listener = nil, nil
	s.mu.Unlock()
	var err error
	s.hooks.stop()
	s.keeper.stop()
	if srv != nil {
		if srv.Shutdown(ctx) != nil {
			err = srv.Close()
		}
		<-done
	}
	s.cfg.WebhookClient.CloseIdleConnections()
	err = errors.Join(err, s.journal.close(), s.saveCounts())
	if s.tempDir != "" {
		err = errors.Join(err, os.RemoveAll(s.tempDir))
	}
	return err
}
