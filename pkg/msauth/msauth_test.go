package msauth

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"millrace/internal/testkit"
)

const (
	tenant   = "11111111-2222-3333-4444-555555555555"
	clientID = "66666666-7777-8888-9999-000000000000"
	api      = "https://manage.office.com"
)

// sts is a sign-in service that knows secrets and gives JWTs with invented signatures.
type sts struct {
	*httptest.Server
	calls    atomic.Int64
	mu       sync.Mutex // guards all below
	secret   string
	lifetime int
	refuse   string // AADSTS code to refuse with
	aud, tid string
	last     map[string]string
}

func newSTS(t *testing.T) *sts {
	t.Helper()
	s := &sts{secret: "first-secret", lifetime: 3600, aud: api, tid: tenant}
	s.Server = httptest.NewTLSServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Close)
	return s
}

func (s *sts) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	if strings.HasSuffix(r.URL.Path, "openid-configuration") {
		_ = json.NewEncoder(w).Encode(map[string]string{
			"issuer": s.URL + "/" + tenant + "/v2.0", "authorization_endpoint": s.URL + "/authorize", "token_endpoint": s.URL + "/" + tenant + "/token",
		})
		return
	}
	n := s.calls.Add(1)
	_ = r.ParseForm()
	s.last = map[string]string{"assertion": r.PostForm.Get("client_assertion"), "scope": r.PostForm.Get("scope")}
	code := s.refuse
	if code == "" && r.PostForm.Get("client_assertion") == "" && r.PostForm.Get("client_secret") != s.secret {
		code = "AADSTS7000215"
	}
	if code != "" {
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = fmt.Fprintf(w, `{"error":"invalid_client","error_description":"%s: refused, you sent %s"}`, code, r.PostForm.Get("client_secret"))
		return
	}
	claims, _ := json.Marshal(map[string]any{"aud": s.aud, "tid": s.tid, "roles": []string{"ActivityFeed.Read"}, "n": n})
	jwt := "e30." + base64.RawURLEncoding.EncodeToString(claims) + ".c2ln"
	_, _ = fmt.Fprintf(w, `{"token_type":"Bearer","expires_in":%d,"access_token":%q}`, s.lifetime, jwt)
}

func (s *sts) set(f func()) { s.mu.Lock(); defer s.mu.Unlock(); f() }

func (s *sts) source(t *testing.T, change func(*Config)) *Source {
	t.Helper()
	cfg := Config{Tenant: tenant, ClientID: clientID, Authority: s.URL, HTTP: s.Client(), SkipInstanceDiscovery: true}
	change(&cfg)
	src, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return src
}

func TestOneSignInForMany(t *testing.T) {
	t.Parallel()
	s := newSTS(t)
	src := s.source(t, func(c *Config) { c.Secret = "first-secret" })
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := src.Token(t.Context(), api); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := s.calls.Load(); n != 1 {
		t.Errorf("%d sign-ins for 20 callers", n)
	}
	first, _ := src.Token(t.Context(), api)
	if diff := cmp.Diff(MissingRoles(first, "ActivityFeed.Read", "ActivityFeed.ReadDlp"), []string{"ActivityFeed.ReadDlp"}); diff != "" {
		t.Error(diff)
	}
	second, err := src.Renew(t.Context(), api, first.Value)
	if err != nil || second.Value == first.Value {
		t.Errorf("a refused token came back, error %v", err)
	}
	if again, _ := src.Renew(t.Context(), api, first.Value); again.Value != second.Value {
		t.Error("a caller that was late with the old token caused one more sign-in")
	}
}

func TestRotation(t *testing.T) {
	t.Parallel()
	s := newSTS(t)
	file := filepath.Join(t.TempDir(), "secret")
	write := func(v string) {
		if err := os.WriteFile(file, []byte(v+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("first-secret")
	now := time.Now()
	src := s.source(t, func(c *Config) { c.SecretFile = file; c.Now = func() time.Time { return now } })
	if _, err := src.Token(t.Context(), api); err != nil {
		t.Fatal(err)
	}
	s.set(func() { s.secret = "second-secret" })
	now = now.Add(52 * time.Minute) // inside the renewal time: the old token still serves
	if _, err := src.Token(t.Context(), api); err != nil {
		t.Errorf("renewal ahead of time: %v", err)
	}
	write("second-secret")
	now = now.Add(quietTime + time.Second)
	before := s.calls.Load()
	if _, err := src.Token(t.Context(), api); err != nil || s.calls.Load() == before {
		t.Errorf("rotated secret: %d sign-ins, %v", s.calls.Load()-before, err)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	s := newSTS(t)
	src := s.source(t, func(c *Config) { c.Secret = "swordfish-wrong" })
	_, err := src.Token(t.Context(), api)
	auth, ok := errors.AsType[*AuthError](err)
	if !ok || auth.Code != "AADSTS7000215" || !strings.Contains(auth.Remedy, "secret") {
		t.Errorf("wrong secret: %v", err)
	}
	if strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, auth), "swordfish") {
		t.Error("the secret is in the error")
	}
	s.set(func() { s.aud = "https://graph.microsoft.com" })
	if _, err := s.source(t, func(c *Config) { c.Secret = "first-secret" }).Token(t.Context(), api); err == nil || !strings.Contains(err.Error(), "audience") {
		t.Errorf("wrong audience: %v", err)
	}
	s.set(func() { s.aud, s.tid = api, clientID })
	if _, err := s.source(t, func(c *Config) { c.Secret = "first-secret" }).Token(t.Context(), api); err == nil || !strings.Contains(err.Error(), "tenant") {
		t.Errorf("wrong tenant: %v", err)
	}
	s.Close()
	if _, err := s.source(t, func(c *Config) { c.Secret = "first-secret" }).Token(t.Context(), api); err == nil || !strings.Contains(err.Error(), "reached") {
		t.Errorf("unreachable: %v", err)
	}
}

// TestCredentialStaysWithTheAuthority: wherever the sign-in service says that tokens are to be had, the secret goes to the configured host only.
func TestCredentialStaysWithTheAuthority(t *testing.T) {
	t.Parallel()
	foreign := testkit.StartForeign(t)
	for name, endpoint := range map[string]func(own string) string{
		"another host":       func(string) string { return foreign.TLS.URL + "/token" },
		"http":               func(string) string { return foreign.Plain.URL + "/token" },
		"own host over http": func(own string) string { return strings.Replace(own, "https:", "http:", 1) + "/token" },
		"user information":   func(own string) string { return strings.Replace(own, "://", "://a@", 1) + "/token" },
		"own host as user": func(own string) string {
			return "https://" + strings.TrimPrefix(own, "https://") + "@" + foreign.TLS.Listener.Addr().String()
		},
		"redirect, method kept":     func(own string) string { return own + "/307" },
		"redirect, as a GET":        func(own string) string { return own + "/302" },
		"redirect to http, kept":    func(own string) string { return own + "/308" },
		"another port of this host": func(string) string { return strings.Replace(foreign.TLS.URL, "127.0.0.1", "localhost", 1) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSTS(t)
			s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch r.URL.Path {
				case "/302":
					http.Redirect(w, r, foreign.TLS.URL, http.StatusFound)
				case "/307":
					http.Redirect(w, r, foreign.TLS.URL, http.StatusTemporaryRedirect)
				case "/308":
					http.Redirect(w, r, foreign.Plain.URL, http.StatusPermanentRedirect)
				default:
					_ = json.NewEncoder(w).Encode(map[string]string{"issuer": s.URL + "/x", "authorization_endpoint": s.URL, "token_endpoint": endpoint(s.URL)})
				}
			})
			_, err := s.source(t, func(c *Config) { c.Secret = "swordfish" }).Token(t.Context(), api)
			auth, ok := errors.AsType[*AuthError](err)
			if !ok || strings.Contains(err.Error(), "swordfish") || auth.Code != CodeElsewhere {
				t.Errorf("error %v", err)
			}
		})
	}
	t.Cleanup(func() { foreign.Unvisited(t) })
}

func TestAliasesOfOneCloud(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		to, authority string
		want          bool
	}{
		{"https://login.microsoftonline.com/x/token", "https://login.microsoftonline.com", true},
		{"https://login.microsoftonline.com:443/x/token", "https://LOGIN.microsoftonline.com", true},
		{"https://login.windows.net/x/token", "https://login.microsoftonline.com", true},
		{"https://login.microsoftonline.us/x/token", "https://login.microsoftonline.com", false},
		{"https://login.windows.net/x/token", "https://sim.example.org", false},
		{"https://login.microsoftonline.com.example.org/", "https://login.microsoftonline.com", false},
		{"https://sim.example.org:8443/", "https://sim.example.org", false},
		{"http://sim.example.org/", "https://sim.example.org", false},
	} {
		to, err := url.Parse(tt.to)
		at, err2 := url.Parse(tt.authority)
		if err != nil || err2 != nil || sameService(to, at) != tt.want {
			t.Errorf("%s of %s: %v, want %v", tt.to, tt.authority, !tt.want, tt.want)
		}
	}
}

func TestCertificateAndFederation(t *testing.T) {
	t.Parallel()
	s := newSTS(t)
	dir := t.TempDir()
	cert := filepath.Join(dir, "app.pem")
	if err := os.WriteFile(cert, testCertificate(t), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.source(t, func(c *Config) { c.CertificateFile = cert }).Token(t.Context(), api); err != nil {
		t.Errorf("certificate: %v", err)
	}
	head, _, _ := strings.Cut(s.last["assertion"], ".")
	if raw, _ := base64.RawURLEncoding.DecodeString(head); !bytes.Contains(raw, []byte("x5c")) {
		t.Errorf("assertion header %s has no x5c", raw)
	}
	fed := filepath.Join(dir, "token")
	if err := os.WriteFile(fed, []byte("federated-token"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.source(t, func(c *Config) { c.FederatedTokenFile = fed }).Token(t.Context(), api); err != nil || s.last["assertion"] != "federated-token" {
		t.Errorf("federation: %q, %v", s.last["assertion"], err)
	}
	if err := os.WriteFile(cert, []byte("no pem"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.source(t, func(c *Config) { c.CertificateFile = cert }).Token(t.Context(), api); err == nil || !strings.Contains(err.Error(), "PEM") {
		t.Errorf("bad certificate file: %v", err)
	}
	if _, err := s.source(t, func(c *Config) { c.SecretFile = filepath.Join(dir, "none") }).Token(t.Context(), api); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
}

func testCertificate(t *testing.T) []byte {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "app"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	pk, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pk})...)
}

func TestTokenIsNeverPrinted(t *testing.T) {
	t.Parallel()
	tok := Token{Value: "swordfish"}
	var b bytes.Buffer
	slog.New(slog.NewJSONHandler(&b, nil)).Info("x", "t", tok)
	_, _ = fmt.Fprintf(&b, "%v %+v %#v %s", tok, tok, tok, tok)
	if strings.Contains(b.String(), "swordfish") {
		t.Error(b.String())
	}
}

func TestNewRefusesTwoCredentials(t *testing.T) {
	t.Parallel()
	for _, c := range []Config{{}, {Secret: "a", SecretFile: "b"}, {Secret: "a", Tenant: tenant, ClientID: clientID, Authority: "http://x"}} {
		if _, err := New(c); err == nil {
			t.Errorf("accepted %d", len(c.Secret))
		}
	}
}

func TestWaitingCallerLeavesWithItsContext(t *testing.T) {
	t.Parallel()
	s := newSTS(t)
	src := s.source(t, func(c *Config) { c.Secret = "first-secret" })
	src.tokens[api] = &entry{gate: make(chan struct{}, 1)}
	src.tokens[api].gate <- struct{}{} // someone else signs in
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := src.Token(ctx, api); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func FuzzClaims(f *testing.F) {
	f.Add("e30.eyJhdWQiOjF9.x")
	s := &Source{cfg: Config{Tenant: tenant}}
	f.Fuzz(func(t *testing.T, token string) {
		if _, err := s.check(Token{Value: token}, api); err != nil && len(err.Error()) > 300 {
			t.Fatal("long error")
		}
	})
}

// TestManagedIdentityOfAnAppService: the platform names the endpoint and the header's value in the environment.
func TestManagedIdentityOfAnAppService(t *testing.T) {
	var asked atomic.Value
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Store(r.Header.Get("X-IDENTITY-HEADER") + " " + r.URL.Query().Get("resource") + " " + r.URL.Query().Get("client_id"))
		_, _ = fmt.Fprintf(w, `{"access_token":"opaque","expires_on":"%d","resource":%q,"token_type":"Bearer"}`, time.Now().Add(time.Hour).Unix(), api)
	}))
	t.Cleanup(s.Close)
	t.Setenv("IDENTITY_ENDPOINT", s.URL+"/msi/token")
	t.Setenv("IDENTITY_HEADER", "known-to-the-platform")
	src, err := New(Config{Tenant: tenant, ClientID: clientID, Authority: "https://login.example.org", ManagedIdentity: true})
	if err != nil {
		t.Fatal(err)
	}
	tok, err := src.Token(t.Context(), api)
	if err != nil || tok.Value != "opaque" || tok.Read || MissingRoles(tok, "ActivityFeed.Read") != nil {
		t.Errorf("%v, %v", tok, err)
	}
	if want := "known-to-the-platform " + api + " " + clientID; asked.Load() != want {
		t.Errorf("asked %q, want %q", asked.Load(), want)
	}
}

// TestHostileTokenAnswers: whatever the sign-in service says, it is a bounded error without what was sent.
func TestHostileTokenAnswers(t *testing.T) {
	t.Parallel()
	endless := strings.Repeat(`{"error":`, 1<<18)
	for name, answer := range map[string]string{
		"endless": endless, "no json": "<html>", "empty": "", "null": "null", "array": "[]", "no token": `{"token_type":"Bearer","expires_in":3600}`,
		"number": `{"access_token":5,"expires_in":3600}`, "negative life": `{"token_type":"Bearer","expires_in":-1,"access_token":"x"}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSTS(t)
			s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.URL.Path, "openid-configuration") {
					s.serve(w, r)
					return
				}
				_, _ = w.Write([]byte(answer))
			})
			src := s.source(t, func(c *Config) { c.Secret = "swordfish" })
			_, err := src.Token(t.Context(), api)
			if name == "negative life" {
				return // MSAL takes it for expired, and so does the next call
			}
			if err == nil || len(err.Error()) > 1000 || strings.Contains(err.Error(), "swordfish") {
				t.Errorf("error %.200v", err)
			}
		})
	}
}

// FuzzTokenAnswer gives MSAL, and the reading of claims behind it, the answers of a hostile sign-in service.
func FuzzTokenAnswer(f *testing.F) {
	f.Add(200, []byte(`{"token_type":"Bearer","expires_in":3600,"access_token":"e30.eyJhdWQiOiJodHRwczovL21hbmFnZS5vZmZpY2UuY29tIn0.x"}`))
	f.Add(401, []byte(`{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret"}`))
	f.Add(503, []byte(`<html>`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		answer := func(r *http.Request) *http.Response {
			if strings.HasSuffix(r.URL.Path, "openid-configuration") {
				status, body := 200, []byte(`{"issuer":"https://login.example.org/x/v2.0","authorization_endpoint":"https://login.example.org/a","token_endpoint":"https://login.example.org/t"}`)
				return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(body)), Request: r}
			}
			return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(body)), Request: r}
		}
		src, err := New(Config{
			Tenant: tenant, ClientID: clientID, Authority: "https://login.example.org", Secret: "swordfish", SkipInstanceDiscovery: true,
			HTTP: &http.Client{Transport: roundTrip(answer)},
		})
		if err != nil {
			t.Fatal(err)
		}
		tok, err := src.Token(t.Context(), api)
		if err != nil && (strings.Contains(err.Error(), "swordfish") || len(err.Error()) > 4000) {
			t.Fatalf("error of %d bytes shows too much", len(err.Error()))
		}
		_ = MissingRoles(tok, "ActivityFeed.Read")
	})
}

type roundTrip func(*http.Request) *http.Response

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r), nil }
