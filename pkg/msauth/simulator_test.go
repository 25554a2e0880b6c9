package msauth_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"millrace/internal/m365sim"
	"millrace/internal/m365sim/tenant"
	"millrace/pkg/msauth"
)

const manage = "https://manage.office.com"

// simulator is a simulated sign-in service with one tenant.
func simulator(t *testing.T, change func(*m365sim.Config)) (*m365sim.Server, *http.Client) {
	t.Helper()
	cfg := m365sim.Config{Tenants: []tenant.Config{{Seed: 3, Records: 10, LiveRate: -1}}, Dir: t.TempDir()}
	change(&cfg)
	s, err := m365sim.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Log(err)
		}
	})
	ca, err := os.ReadFile(s.CAFile())
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig.RootCAs = pool
	t.Cleanup(transport.CloseIdleConnections)
	return s, &http.Client{Transport: transport}
}

func source(t *testing.T, s *m365sim.Server, c *http.Client, change func(*msauth.Config)) *msauth.Source {
	t.Helper()
	cfg := msauth.Config{
		Tenant: s.Tenants()[0].ID(), ClientID: m365sim.DefaultClientID, Authority: s.URL(), HTTP: c, SkipInstanceDiscovery: true,
	}
	change(&cfg)
	src, err := msauth.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return src
}

// issued makes a certificate, signed by a parent or by itself.
func issued(t *testing.T, name string, parent *x509.Certificate, signer *rsa.PrivateKey) (*x509.Certificate, *rsa.PrivateKey) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: parent == nil, BasicConstraintsValid: true,
	}
	if parent == nil {
		parent, signer = tmpl, key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// TestPFX signs in with PKCS #12 files as Windows and OpenSSL write them, and takes a replaced one without a restart.
func TestPFX(t *testing.T) {
	t.Parallel()
	ca, caKey := issued(t, "issuer", nil, nil)
	leaf, key := issued(t, "app", ca, caKey)
	s, client := simulator(t, func(c *m365sim.Config) {
		c.Apps = []m365sim.App{{ClientID: m365sim.DefaultClientID, Certificates: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw})}}
	})
	file := filepath.Join(t.TempDir(), "app.pfx")
	write := func(encode *pkcs12.Encoder, password string) {
		t.Helper()
		pfx, err := encode.Encode(key, leaf, []*x509.Certificate{ca}, password)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, pfx, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	password := "swordfish"
	src := source(t, s, client, func(c *msauth.Config) {
		c.CertificateFile = file
		c.ReadCertificatePassword = func() (string, error) { return password, nil }
	})
	first := msauth.Token{}
	for name, encoder := range map[string]*pkcs12.Encoder{"modern": pkcs12.Modern2023, "legacy": pkcs12.LegacyDES, "rc2": pkcs12.LegacyRC2} {
		write(encoder, password)
		tok, err := src.Renew(t.Context(), manage, first.Value)
		if err != nil || tok.Value == "" || tok.Value == first.Value || !tok.Read {
			t.Errorf("%s: %v, %v", name, tok, err)
		}
		first = tok
	}
	write(pkcs12.Modern2023, "another")
	refusedWith := func(src *msauth.Source, want string) {
		t.Helper()
		_, err := src.Token(t.Context(), manage)
		if auth, ok := errors.AsType[*msauth.AuthError](err); !ok || !strings.Contains(auth.Remedy, want) || strings.Contains(err.Error(), "swordfish") {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	again := func() *msauth.Source {
		return source(t, s, client, func(c *msauth.Config) {
			c.CertificateFile, c.ReadCertificatePassword = file, func() (string, error) { return password, nil }
		})
	}
	refusedWith(again(), "password is wrong")
	if err := os.WriteFile(file, []byte{0x30, 0x82, 0xff, 0xff, 0x02}, 0o600); err != nil {
		t.Fatal(err)
	}
	refusedWith(again(), "neither PEM nor a PFX")
}

// hop sends what is for the machine's own metadata service to the simulator.
type hop struct {
	to   *url.URL
	next http.RoundTripper
	seen []string
}

func (h *hop) RoundTrip(r *http.Request) (*http.Response, error) {
	h.seen = append(h.seen, r.URL.String())
	r = r.Clone(r.Context())
	r.URL.Scheme, r.URL.Host = h.to.Scheme, h.to.Host
	return h.next.RoundTrip(r)
}

func TestManagedIdentityOfAMachine(t *testing.T) {
	t.Parallel()
	s, client := simulator(t, func(c *m365sim.Config) { c.ManagedIdentity = true })
	to, err := url.Parse(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	h := &hop{to: to, next: client.Transport}
	src := source(t, s, &http.Client{Transport: h}, func(c *msauth.Config) { c.ManagedIdentity = true })
	first, err := src.Token(t.Context(), manage)
	if err != nil || msauth.MissingRoles(first, "ActivityFeed.Read") != nil {
		t.Fatalf("%v: %v", first, err)
	}
	if len(h.seen) != 1 || !strings.HasPrefix(h.seen[0], "http://169.254.169.254/metadata/identity/oauth2/token?") || !strings.Contains(h.seen[0], m365sim.DefaultClientID) {
		t.Errorf("asked %q", h.seen)
	}
	if second, err := src.Renew(t.Context(), manage, first.Value); err != nil || second.Value == first.Value {
		t.Errorf("a refused token came back: %v", err)
	}
	if _, err := src.Token(t.Context(), "https://unknown.example.org"); err == nil || !strings.Contains(err.Error(), "AADSTS500011") {
		t.Errorf("unknown audience: %v", err)
	}
	none, client := simulator(t, func(*m365sim.Config) {}) // a machine without an identity
	to, err = url.Parse(none.URL())
	if err != nil {
		t.Fatal(err)
	}
	src = source(t, none, &http.Client{Transport: &hop{to: to, next: client.Transport}}, func(c *msauth.Config) { c.ManagedIdentity, c.ClientID = true, "" })
	if _, err := src.Token(t.Context(), manage); err == nil || !strings.Contains(err.Error(), "no managed identity answers") {
		t.Errorf("no identity: %v", err)
	}
}
