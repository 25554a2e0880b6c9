package m365sim

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
)

func newCertificate(t *testing.T) (*x509.Certificate, crypto.Signer) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "collector"}, NotAfter: time.Now().AddDate(1, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

func pemOf(cert *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
}

func TestMSALCertificate(t *testing.T) {
	t.Parallel()
	cert, key := newCertificate(t)
	r := newRig(t, func(c *Config) {
		c.Apps = []App{{ClientID: DefaultClientID, Secret: DefaultClientSecret, Certificates: pemOf(cert)}}
		c.Clock = time.Now // MSAL dates its assertions itself
	})
	cred, err := confidential.NewCredFromCert([]*x509.Certificate{cert}, key)
	if err != nil {
		t.Fatal(err)
	}
	cl, err := confidential.New(r.s.URL()+"/"+r.id, DefaultClientID, cred, confidential.WithInstanceDiscovery(false), confidential.WithHTTPClient(r.client), confidential.WithX5C())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cl.AcquireTokenByCredential(t.Context(), []string{"https://manage.office.com/.default"}); err != nil {
		t.Fatal(err)
	}
	other, otherKey := newCertificate(t)
	if cred, err = confidential.NewCredFromCert([]*x509.Certificate{other}, otherKey); err != nil {
		t.Fatal(err)
	}
	if cl, err = confidential.New(r.s.URL()+"/"+r.id, DefaultClientID, cred, confidential.WithInstanceDiscovery(false), confidential.WithHTTPClient(r.client)); err != nil {
		t.Fatal(err)
	}
	if _, err := cl.AcquireTokenByCredential(t.Context(), []string{"https://manage.office.com/.default"}); err == nil || !strings.Contains(err.Error(), "AADSTS700027") {
		t.Errorf("an unknown certificate: %v", err)
	}
}

// TestSignInErrors asserts the errors of the token endpoints.
func TestSignInErrors(t *testing.T) {
	t.Parallel()
	expired := App{ClientID: "11111111-2222-4333-8444-555555555555", Secret: "old", SecretExpires: testOrigin.Add(-time.Hour)}
	off := App{ClientID: "22222222-2222-4333-8444-555555555555", Secret: "s", Disabled: true}
	r := newRig(t, func(c *Config) {
		c.Apps = []App{{ClientID: DefaultClientID, Secret: DefaultClientSecret}, expired, off}
	})
	good := func(change ...string) url.Values {
		v := url.Values{"grant_type": {"client_credentials"}, "client_id": {DefaultClientID}, "client_secret": {DefaultClientSecret}, "scope": {"https://manage.office.com/.default openid"}}
		for i := 0; i < len(change); i += 2 {
			if v.Set(change[i], change[i+1]); change[i+1] == "" {
				v.Del(change[i])
			}
		}
		return v
	}
	cases := []struct {
		name, tenant string
		form         url.Values
		status       int
		kind, code   string
	}{
		{"no grant type", "", good("grant_type", ""), 400, "invalid_request", "AADSTS900144"},
		{"other grant type", "", good("grant_type", "password"), 400, "unsupported_grant_type", "AADSTS70003"},
		{"unknown tenant", "nowhere.example", good(), 400, "invalid_request", "AADSTS90002"},
		{"unknown app", "", good("client_id", uuid.NewString()), 400, "unauthorized_client", "AADSTS700016"},
		{"no app", "", good("client_id", ""), 400, "invalid_request", "AADSTS900144"},
		{"wrong secret", "", good("client_secret", "guess"), 401, "invalid_client", "AADSTS7000215"},
		{"no secret", "", good("client_secret", ""), 401, "invalid_client", "AADSTS7000218"},
		{"expired secret", "", good("client_id", expired.ClientID, "client_secret", "old"), 401, "invalid_client", "AADSTS7000222"},
		{"disabled app", "", good("client_id", off.ClientID, "client_secret", "s"), 401, "unauthorized_client", "AADSTS7000112"},
		{"unknown resource", "", good("scope", "https://elsewhere.example/.default"), 400, "invalid_resource", "AADSTS500011"},
		{"no scope", "", good("scope", ""), 400, "invalid_request", "AADSTS900144"},
		{"delegated scope", "", good("scope", "User.Read"), 400, "invalid_scope", "AADSTS1002012"},
		{"malformed assertion", "", good("client_assertion", "abc", "client_assertion_type", assertionType), 400, "invalid_request", "AADSTS50027"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if c.tenant == "" {
				c.tenant = r.id
			}
			a := r.post(r.s.URL()+"/"+c.tenant+"/oauth2/v2.0/token", c.form)
			var out struct {
				Error       string
				Description string `json:"error_description"`
				Codes       []int  `json:"error_codes"`
				TraceID     string `json:"trace_id"`
			}
			if err := json.Unmarshal(a.body, &out); err != nil {
				t.Fatal(err)
			}
			if a.status != c.status || out.Error != c.kind || !strings.HasPrefix(out.Description, c.code+":") || len(out.Codes) != 1 || out.TraceID == "" {
				t.Errorf("got %d %s, want %d %s %s", a.status, a.body, c.status, c.kind, c.code)
			}
		})
	}
}

// TestTokenForms asserts that version 1 answers with strings where version 2 has numbers, and that a domain names the tenant.
func TestTokenForms(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {DefaultClientID}, "client_secret": {DefaultClientSecret}, "resource": {"https://manage.office.com"}}
	a := r.post(r.s.URL()+"/"+r.s.Tenants()[0].DomainNames()[0]+"/oauth2/token", form)
	var v1 struct {
		ExpiresIn string `json:"expires_in"`
		ExpiresOn string `json:"expires_on"`
		NotBefore string `json:"not_before"`
		Resource  string `json:"resource"`
		Token     string `json:"access_token"`
	}
	if err := json.Unmarshal(a.body, &v1); err != nil || v1.ExpiresIn != "3600" || v1.ExpiresOn == "" || v1.NotBefore == "" || v1.Resource != "https://manage.office.com" {
		t.Fatalf("%s: %v", a.body, err)
	}
	var c claims
	if _, _, err := jwt.NewParser().ParseUnverified(v1.Token, &c); err != nil {
		t.Fatal(err)
	}
	if c.TID != r.id || c.AppID != DefaultClientID || strings.Join(c.Roles, " ") != "ActivityFeed.Read ActivityFeed.ReadDlp" {
		t.Errorf("claims: %+v", c)
	}
}

// TestAssertions asserts what is checked on a client assertion besides its signature.
func TestAssertions(t *testing.T) {
	t.Parallel()
	cert, key := newCertificate(t)
	r := newRig(t, func(c *Config) {
		c.Apps = []App{{ClientID: DefaultClientID, Secret: DefaultClientSecret, Certificates: pemOf(cert)}}
	})
	endpoint := r.s.URL() + "/" + r.id + "/oauth2/token"
	cases := []struct {
		name   string
		change func(*jwt.RegisteredClaims)
		want   string
	}{
		{"good", func(*jwt.RegisteredClaims) {}, ""},
		{"expired", func(c *jwt.RegisteredClaims) { c.ExpiresAt = jwt.NewNumericDate(testOrigin.Add(-time.Hour)) }, "AADSTS700024"},
		{"not yet valid", func(c *jwt.RegisteredClaims) { c.NotBefore = jwt.NewNumericDate(testOrigin.Add(time.Hour)) }, "AADSTS700024"},
		{"other issuer", func(c *jwt.RegisteredClaims) { c.Issuer = uuid.NewString() }, "AADSTS700021"},
		{"other audience", func(c *jwt.RegisteredClaims) { c.Audience = jwt.ClaimStrings{"https://elsewhere.example/token"} }, "AADSTS50012"},
	}
	for _, c := range cases {
		cl := jwt.RegisteredClaims{
			Issuer: DefaultClientID, Subject: DefaultClientID, Audience: jwt.ClaimStrings{endpoint}, ID: uuid.NewString(),
			NotBefore: jwt.NewNumericDate(testOrigin), ExpiresAt: jwt.NewNumericDate(testOrigin.Add(10 * time.Minute)),
		}
		c.change(&cl)
		tok := jwt.NewWithClaims(jwt.SigningMethodRS256, cl)
		sum := sha1.Sum(cert.Raw)
		tok.Header["x5t"] = base64.RawURLEncoding.EncodeToString(sum[:])
		signed, err := tok.SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		a := r.post(endpoint, url.Values{"grant_type": {"client_credentials"}, "client_id": {DefaultClientID}, "resource": {"https://manage.office.com"}, "client_assertion_type": {assertionType}, "client_assertion": {signed}})
		if (c.want == "") != (a.status == http.StatusOK) || !strings.Contains(string(a.body), c.want) {
			t.Errorf("%s: %d %s, want %q", c.name, a.status, a.body, c.want)
		}
	}
}

// TestFederated signs in with the token of another issuer, as a workload in a cluster does.
func TestFederated(t *testing.T) {
	t.Parallel()
	_, key := newCertificate(t)
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	const issuer, subject = "https://cluster.example/oidc", "system:serviceaccount:audit:ingester"
	r := newRig(t, func(c *Config) {
		c.Apps = []App{{ClientID: DefaultClientID, Secret: DefaultClientSecret, Federated: []FederatedCredential{{Issuer: issuer, Subject: subject, PublicKey: pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})}}}}
	})
	signIn := func(change func(*jwt.RegisteredClaims)) answer {
		c := jwt.RegisteredClaims{Issuer: issuer, Subject: subject, Audience: jwt.ClaimStrings{federatedAudience}, ExpiresAt: jwt.NewNumericDate(testOrigin.Add(time.Hour))}
		change(&c)
		signed, err := jwt.NewWithClaims(jwt.SigningMethodRS256, c).SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return r.post(r.s.URL()+"/"+r.id+"/oauth2/v2.0/token", url.Values{"grant_type": {"client_credentials"}, "client_id": {DefaultClientID}, "scope": {"https://graph.microsoft.com/.default"}, "client_assertion_type": {assertionType}, "client_assertion": {signed}})
	}
	if a := signIn(func(*jwt.RegisteredClaims) {}); a.status != http.StatusOK {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := signIn(func(c *jwt.RegisteredClaims) { c.Subject = "somebody else" }); !strings.Contains(string(a.body), "AADSTS700213") {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := signIn(func(c *jwt.RegisteredClaims) { c.ExpiresAt = jwt.NewNumericDate(testOrigin.Add(-time.Hour)) }); !strings.Contains(string(a.body), "AADSTS700024") {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func TestManagedIdentity(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *Config) { c.ManagedIdentity = true })
	address := r.s.URL() + "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fmanage.office.com"
	if a := r.get(address); a.status != http.StatusBadRequest {
		t.Errorf("without the header: %d %s", a.status, a.body)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Metadata", "true")
	var out map[string]string
	if a := r.send(req); json.Unmarshal(a.body, &out) != nil || out["access_token"] == "" || out["client_id"] != DefaultClientID {
		t.Fatalf("%d %s", a.status, a.body)
	}
	r.token = out["access_token"]
	if a := r.get(r.root + "/subscriptions/list"); a.status != http.StatusOK {
		t.Errorf("%d %s", a.status, a.body)
	}
}
