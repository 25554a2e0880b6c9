package msauth

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"software.sslmate.com/src/go-pkcs12"
)

const maxCredentialFile = 1 << 20

// credential reads the configured credential and a fingerprint of it that changes when its file does. Files are read again for
// each sign-in, which happens about once an hour, so a rotated secret or certificate needs no restart.
func (s *Source) credential() (confidential.Credential, string, error) {
	switch {
	case s.cfg.Secret != "":
		return secretCredential([]byte(s.cfg.Secret))
	case s.cfg.ReadSecret != nil:
		secret, err := s.cfg.ReadSecret()
		if err != nil {
			return confidential.Credential{}, "", &AuthError{Remedy: "the client secret must exist and be readable by this process", cause: err}
		}
		return secretCredential([]byte(secret))
	case s.cfg.SecretFile != "":
		raw, err := readFile(s.cfg.SecretFile)
		if err != nil {
			return confidential.Credential{}, "", err
		}
		return secretCredential(bytes.TrimSpace(raw))
	case s.cfg.CertificateFile != "":
		return s.certificate()
	default:
		path := s.cfg.FederatedTokenFile
		if _, err := readFile(path); err != nil {
			return confidential.Credential{}, "", err
		}
		return confidential.NewCredFromAssertionCallback(func(context.Context, confidential.AssertionRequestOptions) (string, error) {
			raw, err := readFile(path) // the platform replaces it every hour or so
			return string(bytes.TrimSpace(raw)), err
		}), "federated", nil
	}
}

func secretCredential(secret []byte) (confidential.Credential, string, error) {
	if len(secret) == 0 {
		return confidential.Credential{}, "", &AuthError{Remedy: "the client secret is empty: put the secret's value into its file"}
	}
	c, err := confidential.NewCredFromSecret(string(secret))
	if err != nil {
		return c, "", &AuthError{Remedy: "the client secret cannot be used"}
	}
	return c, fingerprint(secret), nil
}

func (s *Source) certificate() (confidential.Credential, string, error) {
	raw, err := readFile(s.cfg.CertificateFile)
	if err != nil {
		return confidential.Credential{}, "", err
	}
	const want = "want a PEM file with the certificate and its unencrypted PKCS #8 or PKCS #1 key, or a PFX file"
	var certs []*x509.Certificate
	var key crypto.PrivateKey
	if bytes.Contains(raw, []byte("-----BEGIN ")) {
		if certs, key, err = confidential.CertFromPEM(raw, ""); err != nil {
			return confidential.Credential{}, "", &AuthError{Remedy: fmt.Sprintf("certificate file %s: %s", s.cfg.CertificateFile, want)}
		}
	} else if certs, key, err = s.pfx(raw); err != nil {
		return confidential.Credential{}, "", err
	}
	c, err := confidential.NewCredFromCert(certs, key)
	if err != nil {
		return c, "", &AuthError{Remedy: fmt.Sprintf("certificate file %s: the key does not fit the certificate; %s", s.cfg.CertificateFile, want)}
	}
	if expired := certs[0].NotAfter; s.now().After(expired) {
		return c, "", &AuthError{Remedy: fmt.Sprintf("certificate file %s expired on %s: make a new one", s.cfg.CertificateFile, expired.Format("2006-01-02"))}
	}
	return c, fingerprint(raw), nil
}

// pfx reads a PKCS #12 file: the key, its certificate, and the chain behind it, all of which go into x5c.
func (s *Source) pfx(raw []byte) ([]*x509.Certificate, crypto.PrivateKey, error) {
	password := ""
	if s.cfg.ReadCertificatePassword != nil {
		var err error
		if password, err = s.cfg.ReadCertificatePassword(); err != nil {
			return nil, nil, &AuthError{Remedy: "the password of the PFX file must exist and be readable by this process", cause: err}
		}
	}
	key, leaf, chain, err := pkcs12.DecodeChain(raw, password)
	switch {
	case errors.Is(err, pkcs12.ErrIncorrectPassword):
		return nil, nil, &AuthError{Remedy: fmt.Sprintf("certificate file %s: its password is wrong", s.cfg.CertificateFile)}
	case err != nil:
		return nil, nil, &AuthError{Remedy: fmt.Sprintf("certificate file %s is neither PEM nor a PFX with one key and its certificate", s.cfg.CertificateFile)}
	}
	return append([]*x509.Certificate{leaf}, chain...), key, nil
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, &AuthError{Remedy: "the credential's file must exist and be readable by this process", cause: err}
	}
	defer func() { _ = f.Close() }() // opened for reading
	raw, err := io.ReadAll(io.LimitReader(f, maxCredentialFile+1))
	if err != nil {
		return nil, &AuthError{Remedy: "the credential's file cannot be read", cause: err}
	}
	if len(raw) > maxCredentialFile {
		return nil, &AuthError{Remedy: fmt.Sprintf("credential file %s is larger than 1 MiB: wrong file?", path)}
	}
	return raw, nil
}

func fingerprint(b []byte) string {
	sum := sha256.Sum256(b)
	return string(sum[:])
}
