package kafkatx

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/segmentio/kafka-go/protocol/apiversions"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kversion"
)

// newCertificate makes a self-signed certificate for 127.0.0.1, in memory and as a CA file.
func newCertificate(t *testing.T) (cert tls.Certificate, caFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "broker.example.org"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	caFile = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, caFile
}

func TestTLS(t *testing.T) {
	t.Parallel()
	cert, right := newCertificate(t)
	_, wrong := newCertificate(t)
	k := newCluster(t, 1, kfake.TLS(&tls.Config{Certificates: []tls.Certificate{cert}}))
	for _, tc := range []struct {
		name     string
		security Security
		want     string
	}{
		{"right CA", Security{TLSCAFile: right}, ""},
		{"wrong CA", Security{TLSCAFile: wrong}, "TLS handshake: check the CA file"},
		{"system CAs", Security{TLS: true}, "TLS handshake: check the CA file"},
		{"other name", Security{TLSCAFile: right, TLSServerName: "other.example.org"}, "TLS handshake"},
		{"no TLS", Security{}, "it expects TLS (configured: false)"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := secureClient(t, k.ListenAddrs(), tc.security)
			if err := c.Ping(testContext(t)); tc.want != "" {
				wantError(t, err, tc.want)
			} else if err != nil {
				t.Errorf("Ping: %v", err)
			}
		})
	}
}

func TestSecurityIsChecked(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name     string
		security Security
		want     string
	}{
		{"CA file is missing", Security{TLSCAFile: filepath.Join(dir, "nothing")}, "read CA file"},
		{"CA file is no certificate", Security{TLSCAFile: empty}, "no PEM certificate"},
		{"certificate without key", Security{TLSCertFile: empty}, "needs both"},
		{"unknown mechanism", Security{SASLMechanism: "GSSAPI"}, "unknown mechanism"},
		{"credentials without mechanism", Security{Username: "u"}, "no mechanism"},
		{"no user", Security{SASLMechanism: "PLAIN", Password: "p"}, "needs a user name"},
		{"empty password file", Security{SASLMechanism: "PLAIN", Username: "u", PasswordFile: empty}, "empty secret"},
		{"no token file", Security{SASLMechanism: "OAUTHBEARER"}, "needs a token file"},
	} {
		wantError(t, tc.security.Apply(&ClientConfig{}), tc.want)
	}
}

func TestBearerToken(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "token")
	for _, token := range []string{"first", "second"} { // what is in the file when the connection is made counts
		if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		m := &credentials{Security{SASLMechanism: "OAUTHBEARER", TokenFile: file}}
		session, first, err := m.Start(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if got, want := string(first), "n,,\x01auth=Bearer "+token+"\x01\x01"; got != want {
			t.Errorf("first message %q, want %q", got, want)
		}
		if done, _, err := session.Next(context.Background(), nil); !done || err != nil {
			t.Errorf("after success: %t, %v", done, err)
		}
		if _, _, err := session.Next(context.Background(), []byte(`{"status":"invalid_token"}`)); err == nil {
			t.Error("a refused token is no error")
		}
	}
}

// TestOldBroker has brokers of several ages: what the package cannot do without is found missing at the start, not in the middle.
func TestOldBroker(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name     string
		versions *kversion.Versions
		want     string
	}{
		{"0.11", kversion.V0_11_0(), "the broker is too old"},
		{"2.7", kversion.V2_7_0(), "the broker is too old: it serves AddPartitionsToTxn up to version 2, and version 3 is needed: Apache Kafka 2.8 or later"},
		{"2.8", kversion.V2_8_0(), ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := newClient(t, newCluster(t, 1, kfake.MaxVersions(tc.versions)).ListenAddrs()).Ping(testContext(t))
			if tc.want != "" {
				wantError(t, err, tc.want)
			} else if err != nil {
				t.Errorf("Ping: %v", err)
			}
		})
	}
	wantError(t, checkVersions([]apiversions.ApiKeyResponse{{ApiKey: 0, MinVersion: 9, MaxVersion: 13}}), "too new for this build", "Produce from version 9 on")
	wantError(t, checkVersions(nil), "the broker is too old: it serves no ")
}

// TestSecretsAreReadAgain replaces a password and a client certificate: the same client uses the new ones for its next connection.
func TestSecretsAreReadAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name string, content []byte) string {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	ours := func() (cert []byte) {
		t.Helper()
		c, caFile := newCertificate(t)
		key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
		if err != nil {
			t.Fatal(err)
		}
		write("key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
		file, err := os.ReadFile(caFile)
		if err != nil {
			t.Fatal(err)
		}
		write("cert.pem", file)
		return c.Certificate[0]
	}
	serverCert, ca := newCertificate(t)
	var mu sync.Mutex
	var shown []byte // the client certificate of the last connection
	k := newCluster(t, 1, kfake.EnableSASL(), kfake.Superuser("PLAIN", "u", "second"), kfake.TLS(&tls.Config{
		Certificates: []tls.Certificate{serverCert}, ClientAuth: tls.RequireAnyClientCert,
		VerifyPeerCertificate: func(raw [][]byte, _ [][]*x509.Certificate) error {
			mu.Lock()
			defer mu.Unlock()
			shown = raw[0]
			return nil
		},
	}))
	first := ours()
	s := Security{
		TLSCAFile: ca, TLSCertFile: filepath.Join(dir, "cert.pem"), TLSKeyFile: filepath.Join(dir, "key.pem"),
		SASLMechanism: "PLAIN", Username: "u", PasswordFile: write("password", []byte("first")),
	}
	cfg := ClientConfig{Brokers: k.ListenAddrs()}
	if err := s.Apply(&cfg); err != nil {
		t.Fatal(err)
	}
	c, err := NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	saw := func(want []byte) {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		if !bytes.Equal(shown, want) {
			t.Error("the broker was shown another certificate than the one in the file")
		}
	}
	if err := c.Ping(testContext(t)); err == nil {
		t.Error("a wrong password is taken")
	}
	saw(first)
	second := ours()
	write("password", []byte("second\n"))
	if err := c.Ping(testContext(t)); err != nil {
		t.Errorf("Ping with the new password: %v", err)
	}
	saw(second)
}

// secureClient is a client with security settings.
func secureClient(t *testing.T, brokers []string, security Security) *Client {
	t.Helper()
	cfg := ClientConfig{Brokers: brokers}
	if err := security.Apply(&cfg); err != nil {
		t.Fatal(err)
	}
	c, err := NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}
