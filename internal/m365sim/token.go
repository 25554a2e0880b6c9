package m365sim

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
)

// registration is an App with its certificates parsed.
type registration struct {
	App
	certs     []*x509.Certificate
	federated []federatedKey
}

type federatedKey struct {
	FederatedCredential
	key any
}

func newRegistration(a App) (*registration, error) {
	if _, err := uuid.Parse(a.ClientID); err != nil {
		return nil, fmt.Errorf("m365sim: client id %q is not a GUID", a.ClientID)
	}
	if a.Roles == nil {
		a.Roles = defaultRoles()
	}
	reg := &registration{App: a}
	for rest := a.Certificates; len(rest) > 0; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return nil, fmt.Errorf("m365sim: certificates of app %s are not PEM", a.ClientID)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("m365sim: certificate of app %s: %w", a.ClientID, err)
		}
		reg.certs = append(reg.certs, cert)
	}
	for _, f := range a.Federated {
		block, _ := pem.Decode(f.PublicKey)
		if block == nil {
			return nil, fmt.Errorf("m365sim: federated key of app %s is not PEM", a.ClientID)
		}
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("m365sim: federated key of app %s: %w", a.ClientID, err)
		}
		reg.federated = append(reg.federated, federatedKey{f, key})
	}
	return reg, nil
}

// tokenKeys signs access tokens and checks them.
type tokenKeys struct {
	key *rsa.PrivateKey
	kid string

	mu   sync.Mutex // guards seen
	seen map[string]*claims
}

// maxSeenTokens bounds the memory of checked tokens; checking one again costs 30 µs.
const maxSeenTokens = 4096

func loadTokenKeys(dir string) (*tokenKeys, error) {
	path := filepath.Join(dir, "token-key.pem")
	der, err := readPEM(path, "RSA PRIVATE KEY")
	if errors.Is(err, os.ErrNotExist) {
		var key *rsa.PrivateKey
		if key, err = rsa.GenerateKey(rand.Reader, 2048); err == nil {
			der = x509.MarshalPKCS1PrivateKey(key)
			err = writePEM(path, "RSA PRIVATE KEY", der, 0o600)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("m365sim: token key: %w", err)
	}
	key, err := x509.ParsePKCS1PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("m365sim: token key %s: %w", path, err)
	}
	sum := sha256.Sum256(x509.MarshalPKCS1PublicKey(&key.PublicKey))
	return &tokenKeys{key: key, kid: base64.RawURLEncoding.EncodeToString(sum[:15]), seen: map[string]*claims{}}, nil
}

type claims struct {
	jwt.RegisteredClaims
	AppID   string   `json:"appid"`
	OID     string   `json:"oid"`
	TID     string   `json:"tid"`
	Roles   []string `json:"roles,omitempty"`
	Idtyp   string   `json:"idtyp"`
	UTI     string   `json:"uti"`
	Version string   `json:"ver"`
}

func (c *claims) hasRole(role string) bool { return slices.Contains(c.Roles, role) }

func (k *tokenKeys) issue(c *claims) (string, error) {
	t := jwt.NewWithClaims(jwt.SigningMethodRS256, c)
	t.Header["kid"], t.Header["x5t"] = k.kid, k.kid
	return t.SignedString(k.key)
}

// check returns the claims of a bearer token that is genuine, current and meant for one of the services of kind.
func (k *tokenKeys) check(token, kind, self string, now time.Time) (*claims, error) {
	k.mu.Lock()
	c := k.seen[token]
	k.mu.Unlock()
	if c == nil {
		c = &claims{}
		_, err := jwt.ParseWithClaims(token, c, func(*jwt.Token) (any, error) { return &k.key.PublicKey, nil },
			jwt.WithValidMethods([]string{"RS256"}), jwt.WithoutClaimsValidation())
		if err != nil {
			return nil, err
		}
		k.mu.Lock()
		if len(k.seen) >= maxSeenTokens {
			clear(k.seen)
		}
		k.seen[token] = c
		k.mu.Unlock()
	}
	if c.ExpiresAt == nil || !now.Before(c.ExpiresAt.Time) {
		return nil, errors.New("the token has expired")
	}
	for _, aud := range c.Audience {
		if got, ok := resourceKind(aud, self); ok && (got == kind || got == "any") {
			return c, nil
		}
	}
	return nil, fmt.Errorf("the token is meant for %v", c.Audience)
}
