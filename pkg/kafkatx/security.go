package kafkatx

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"
)

// Security says how to speak to brokers that want TLS or SASL. Files with secrets are read again for each new connection, so that a
// secret can be replaced without a restart.
type Security struct {
	TLS           bool   // use TLS even if no file is named: the system's CAs are trusted then
	TLSCAFile     string // PEM; trusted instead of the system's CAs
	TLSCertFile   string // PEM; client certificate, with TLSKeyFile
	TLSKeyFile    string
	TLSServerName string // name to expect in the brokers' certificates; "" = the host name of each broker

	SASLMechanism string // "", PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER
	Username      string // not for OAUTHBEARER
	PasswordFile  string
	Password      string // instead of PasswordFile, for a secret that came from the environment
	TokenFile     string // for OAUTHBEARER: a file that something else keeps supplied with a valid token
}

// Apply checks the files once and puts TLS and SASL into a client's configuration.
func (s Security) Apply(cfg *ClientConfig) error {
	if s.TLS || s.TLSCAFile != "" || s.TLSCertFile != "" || s.TLSKeyFile != "" {
		t, err := s.tls()
		if err != nil {
			return err
		}
		cfg.TLS = t
	}
	m, err := s.sasl()
	if err != nil {
		return err
	}
	if m != nil {
		cfg.SASL = m
	}
	return nil
}

func (s Security) tls() (*tls.Config, error) {
	t := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: s.TLSServerName}
	if s.TLSCAFile != "" {
		pem, err := os.ReadFile(s.TLSCAFile)
		if err != nil {
			return nil, fmt.Errorf("kafka TLS: read CA file: %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("kafka TLS: CA file %s holds no PEM certificate", s.TLSCAFile)
		}
	}
	if (s.TLSCertFile == "") != (s.TLSKeyFile == "") {
		return nil, errors.New("kafka TLS: a client certificate needs both its certificate file and its key file")
	}
	if s.TLSCertFile != "" {
		load := func() (*tls.Certificate, error) {
			c, err := tls.LoadX509KeyPair(s.TLSCertFile, s.TLSKeyFile)
			if err != nil {
				return nil, fmt.Errorf("kafka TLS: load client certificate: %w", err)
			}
			return &c, nil
		}
		if _, err := load(); err != nil {
			return nil, err
		}
		t.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	}
	return t, nil
}

func (s Security) sasl() (sasl.Mechanism, error) {
	switch s.SASLMechanism {
	case "":
		if s.Username != "" || s.PasswordFile != "" || s.Password != "" || s.TokenFile != "" {
			return nil, errors.New("kafka SASL: there are credentials but no mechanism: set PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER")
		}
		return nil, nil
	case "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512":
		if s.Username == "" {
			return nil, fmt.Errorf("kafka SASL: mechanism %s needs a user name", s.SASLMechanism)
		}
	case "OAUTHBEARER":
		if s.TokenFile == "" {
			return nil, errors.New("kafka SASL: mechanism OAUTHBEARER needs a token file")
		}
	default:
		return nil, fmt.Errorf("kafka SASL: unknown mechanism %q: want PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER", s.SASLMechanism)
	}
	m := &credentials{s}
	if _, err := m.secret(); err != nil {
		return nil, err
	}
	return m, nil
}

// credentials is a mechanism that reads its secret when a connection is made.
type credentials struct{ s Security }

// Name implements sasl.Mechanism.
func (m *credentials) Name() string { return m.s.SASLMechanism }

// Start implements sasl.Mechanism.
func (m *credentials) Start(ctx context.Context) (sasl.StateMachine, []byte, error) {
	secret, err := m.secret()
	if err != nil {
		return nil, nil, err
	}
	switch m.s.SASLMechanism {
	case "PLAIN":
		return plain.Mechanism{Username: m.s.Username, Password: secret}.Start(ctx)
	case "OAUTHBEARER":
		// RFC 7628, section 3.1: the client's first message.
		return bearer{}, []byte("n,,\x01auth=Bearer " + secret + "\x01\x01"), nil
	}
	algorithm := scram.SHA512
	if m.s.SASLMechanism == "SCRAM-SHA-256" {
		algorithm = scram.SHA256
	}
	inner, err := scram.Mechanism(algorithm, m.s.Username, secret)
	if err != nil {
		return nil, nil, fmt.Errorf("kafka SASL: %w", err)
	}
	return inner.Start(ctx)
}

// secret returns the password or token, without the line end that editors leave.
func (m *credentials) secret() (string, error) {
	file := m.s.PasswordFile
	if m.s.SASLMechanism == "OAUTHBEARER" {
		file = m.s.TokenFile
	}
	secret := m.s.Password
	if file != "" {
		b, err := os.ReadFile(file)
		if err != nil {
			return "", fmt.Errorf("kafka SASL: read secret: %w", err)
		}
		secret = strings.TrimRight(string(b), "\r\n")
	}
	if secret == "" {
		return "", fmt.Errorf("kafka SASL: mechanism %s has an empty secret", m.s.SASLMechanism)
	}
	return secret, nil
}

// bearer is the client's side of OAUTHBEARER after its first message: an empty challenge is success, anything else says what is wrong.
type bearer struct{}

// Next implements sasl.StateMachine.
func (bearer) Next(_ context.Context, challenge []byte) (bool, []byte, error) {
	if len(challenge) > 0 {
		return false, nil, errors.New("kafka SASL: the broker refuses the token")
	}
	return true, nil, nil
}
