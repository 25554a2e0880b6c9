// Package msauth gets app-only tokens of Microsoft Entra ID over MSAL, once per audience however many ask.
package msauth

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	msalerrors "github.com/AzureAD/microsoft-authentication-library-for-go/apps/errors"
)

// Token is a bearer token. It prints and logs as redacted.
type Token struct {
	Value   string
	Expires time.Time
	Roles   []string // application permissions that the token carries
	Read    bool     // whether its claims could be read; an opaque token is not judged by its roles
}

// String hides the token.
func (Token) String() string { return "[token]" }

// GoString hides the token.
func (Token) GoString() string { return "[token]" }

// LogValue hides the token.
func (t Token) LogValue() slog.Value {
	return slog.GroupValue(slog.String("token", "redacted"), slog.Time("expires", t.Expires))
}

// TokenSource gives tokens. Implementations are safe for concurrent use, cache, renew ahead of expiry and retry nothing: an error is
// what the sign-in service said within the last few seconds.
type TokenSource interface {
	// Token returns a token for an audience, for example https://manage.office.com.
	Token(ctx context.Context, audience string) (Token, error)
	// Renew returns a token other than refused, which the audience has just answered with 401.
	Renew(ctx context.Context, audience string, refused string) (Token, error)
}

// Config says who signs in, where and with what. Exactly one credential is set.
type Config struct {
	Tenant    string // directory GUID
	ClientID  string // application (client) id
	Authority string // scheme and host of the sign-in service, for example https://login.microsoftonline.com

	Secret             string                 // client secret itself
	SecretFile         string                 // file that holds it
	ReadSecret         func() (string, error) // gives it anew for each sign-in
	CertificateFile    string                 // PEM or PFX (PKCS #12) file with certificate chain and private key
	FederatedTokenFile string                 // file with the token of another issuer (workload identity federation)
	// ManagedIdentity signs in as the identity of this machine (IMDS) or app service; ClientID names a user-assigned one, "" is the system's.
	ManagedIdentity bool

	// ReadCertificatePassword gives the password of a PFX file; nil = it has none.
	ReadCertificatePassword func() (string, error)

	// HTTP makes the calls; nil = a client of its own with bounded time.
	HTTP *http.Client
	// SkipInstanceDiscovery trusts Authority without asking Microsoft whether it is a cloud of theirs. For simulators and disconnected clouds only.
	SkipInstanceDiscovery bool
	Now                   func() time.Time // nil = time.Now
}

// AuthError is a refusal of the sign-in service or a credential that cannot be used.
type AuthError struct {
	Code   string // for example AADSTS7000215; "" when there is none
	Status int    // HTTP status, 0 = none
	Remedy string // what an operator can do about it
	cause  error
}

// Codes of refusals that are ours.
const (
	CodeClaims      = "wrong_token"  // it is of another tenant or for another audience
	CodeMissingRole = "missing_role" // the app lacks an application permission, or its consent
	CodeElsewhere   = "foreign_host" // the credential was to be sent to a host that is not the authority
)

// MissingRole is the refusal to use a token that lacks roles.
func MissingRole(missing []string, consent string) error {
	return &AuthError{
		Code:   CodeMissingRole,
		Remedy: "add the application permission " + strings.Join(missing, ", ") + " to the app registration and grant admin consent: " + consent,
	}
}

// Error names code and remedy, never what was sent or received.
func (e *AuthError) Error() string {
	var b strings.Builder
	b.WriteString("sign in")
	if e.Code != "" {
		b.WriteString(": " + e.Code)
	} else if e.Status != 0 {
		fmt.Fprintf(&b, ": status %d", e.Status)
	}
	if e.cause != nil {
		b.WriteString(": " + e.cause.Error())
	}
	return b.String() + ": " + e.Remedy
}

// Unwrap gives the cause, if it may be shown.
func (e *AuthError) Unwrap() error { return e.cause }

// renewAhead is how long before its expiry a token is replaced in the background of a call.
const renewAhead = 10 * time.Minute

// quietTime keeps many callers with one bad credential from a storm of sign-ins.
const quietTime = 5 * time.Second

// Source is the TokenSource over MSAL's confidential client.
type Source struct {
	cfg Config
	now func() time.Time

	mu     sync.Mutex // guards all below
	client *confidential.Client
	loaded string // fingerprint of the credential that client was made with
	tokens map[string]*entry
}

// entry is the token of one audience. Its lock is held over a sign-in, so that only one is under way.
type entry struct {
	gate  chan struct{} // capacity 1: held over a sign-in; a channel, so that a waiting caller can leave with its context
	token Token
	quiet time.Time // after a failed sign-in nobody asks again before this
	err   error     // what that sign-in failed with
}

// New checks the configuration. It does not sign in yet, and reads no file yet.
func New(cfg Config) (*Source, error) {
	set := 0
	for _, c := range []string{cfg.Secret, cfg.SecretFile, cfg.CertificateFile, cfg.FederatedTokenFile} {
		if c != "" {
			set++
		}
	}
	if cfg.ReadSecret != nil {
		set++
	}
	if cfg.ManagedIdentity {
		set++
	}
	switch {
	case set != 1:
		return nil, errors.New("set exactly one of secret, secret file, certificate file, federated token file and managed identity")
	case cfg.Tenant == "" || cfg.ClientID == "" && !cfg.ManagedIdentity:
		return nil, errors.New("tenant and client id must be set")
	case !strings.HasPrefix(cfg.Authority, "https://"):
		return nil, fmt.Errorf("authority %q: want https and a host, for example https://login.microsoftonline.com", cfg.Authority)
	}
	cfg.HTTP = bounded(cfg)
	s := &Source{cfg: cfg, now: cfg.Now, tokens: make(map[string]*entry)}
	if s.now == nil {
		s.now = time.Now
	}
	return s, nil
}

// Token implements TokenSource.
func (s *Source) Token(ctx context.Context, audience string) (Token, error) {
	return s.token(ctx, audience, "")
}

// Renew implements TokenSource.
func (s *Source) Renew(ctx context.Context, audience string, refused string) (Token, error) {
	return s.token(ctx, audience, refused)
}

func (s *Source) token(ctx context.Context, audience, refused string) (Token, error) {
	audience = strings.TrimRight(audience, "/")
	s.mu.Lock()
	e := s.tokens[audience]
	if e == nil {
		e = &entry{gate: make(chan struct{}, 1)}
		s.tokens[audience] = e
	}
	s.mu.Unlock()
	select {
	case e.gate <- struct{}{}:
	case <-ctx.Done():
		return Token{}, ctx.Err()
	}
	defer func() { <-e.gate }()
	usable := e.token.Value != "" && e.token.Value != refused
	left := e.token.Expires.Sub(s.now())
	if usable && left > renewAhead {
		return e.token, nil
	}
	if s.now().After(e.quiet) {
		s.renew(ctx, e, audience)
	}
	switch {
	case e.err == nil:
		return e.token, nil
	case usable && left > time.Minute: // renewal ahead of time failed, and the old token still serves
		return e.token, nil
	}
	return Token{}, e.err
}

// renew replaces the token of e, or notes why it could not. What the caller's own context broke is not held against the others.
func (s *Source) renew(ctx context.Context, e *entry, audience string) {
	t, err := s.signIn(ctx, audience, e.token.Value != "")
	if e.err = err; err == nil {
		e.token = t
	} else if ctx.Err() == nil {
		e.quiet = s.now().Add(quietTime)
	}
}

// signIn asks MSAL. A fresh client is made when the credential's file changed, and when a token is to be replaced, because MSAL
// would give the cached one again.
func (s *Source) signIn(ctx context.Context, audience string, fresh bool) (Token, error) {
	if s.cfg.ManagedIdentity {
		return s.managed(ctx, audience)
	}
	client, err := s.msal(fresh)
	if err != nil {
		return Token{}, err
	}
	r, err := client.AcquireTokenByCredential(ctx, []string{audience + "/.default"})
	if err != nil {
		return Token{}, refusal(ctx, err)
	}
	t := Token{Value: r.AccessToken, Expires: r.ExpiresOn}
	return s.check(t, audience)
}

func (s *Source) msal(fresh bool) (*confidential.Client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	cred, print, err := s.credential()
	if err != nil {
		return nil, err
	}
	if s.client != nil && s.loaded == print && !fresh {
		return s.client, nil
	}
	opts := []confidential.Option{confidential.WithHTTPClient(s.cfg.HTTP)}
	if s.cfg.SkipInstanceDiscovery {
		opts = append(opts, confidential.WithInstanceDiscovery(false))
	}
	if s.cfg.CertificateFile != "" {
		opts = append(opts, confidential.WithX5C())
	}
	c, err := confidential.New(strings.TrimRight(s.cfg.Authority, "/")+"/"+s.cfg.Tenant, s.cfg.ClientID, cred, opts...)
	if err != nil {
		return nil, &AuthError{Remedy: "check authority, tenant id and client id", cause: err}
	}
	s.client, s.loaded = &c, print
	return s.client, nil
}

// check reads the claims of a token: for whom it is and what it allows. The signature is the audience's business. A token that is no JWT
// is taken as it is.
func (s *Source) check(t Token, audience string) (Token, error) {
	parts := strings.Split(t.Value, ".")
	if len(parts) != 3 {
		return t, nil
	}
	payload, decodeErr := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	var claims struct {
		Aud   any      `json:"aud"`
		Tid   string   `json:"tid"`
		Roles []string `json:"roles"`
	}
	if decodeErr != nil || json.Unmarshal(payload, &claims) != nil {
		return t, nil //nolint:nilerr // an opaque token is legal; the audience decides
	}
	if aud, ok := claims.Aud.(string); ok && aud != "" && strings.HasPrefix(aud, "https://") && strings.TrimRight(aud, "/") != audience {
		return t, &AuthError{Code: CodeClaims, Remedy: "the token is for another audience than " + audience + ": check the cloud of the tenant"}
	}
	if claims.Tid != "" && !strings.EqualFold(claims.Tid, s.cfg.Tenant) {
		return t, &AuthError{Code: CodeClaims, Remedy: "the token is of another tenant: check tenant id and app registration"}
	}
	t.Roles, t.Read = claims.Roles, claims.Aud != nil
	return t, nil
}

// MissingRoles lists which of the wanted roles a token does not carry. A token whose claims cannot be read is not judged.
func MissingRoles(t Token, wanted ...string) []string {
	if !t.Read {
		return nil
	}
	var missing []string
	for _, w := range wanted {
		if !slices.Contains(t.Roles, w) {
			missing = append(missing, w)
		}
	}
	return missing
}

var aadsts = regexp.MustCompile(`AADSTS\d{4,9}`)

// refusal keeps of MSAL's error what is safe to show: its text holds the whole answer, and its verbose form the request with the secret.
func refusal(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, errElsewhere) {
		return &AuthError{Code: CodeElsewhere, Remedy: "the sign-in service names a host that is not configured: check authority and cloud; the credential was not sent there"}
	}
	e := &AuthError{Code: aadsts.FindString(err.Error())}
	if call, ok := errors.AsType[msalerrors.CallErr](err); ok && call.Resp != nil {
		if e.Status = call.Resp.StatusCode; e.Status/100 == 3 {
			e.Code = CodeElsewhere // no redirect is followed
		}
	}
	e.Remedy = remedy(e.Code, e.Status)
	return e
}

func remedy(code string, status int) string {
	switch code {
	case CodeElsewhere:
		return "the sign-in service redirects, which is not followed: check authority and cloud"
	case "AADSTS700016":
		return "the application is not known in this tenant: check client id and tenant id"
	case "AADSTS7000215":
		return "the client secret is wrong: give the secret's value, not its id"
	case "AADSTS7000222":
		return "the client secret has expired: make a new secret or certificate"
	case "AADSTS90002":
		return "the tenant is not known: check tenant id and cloud"
	case "AADSTS500011":
		return "the API is not present in the tenant: grant admin consent for the application's permissions"
	case "AADSTS65001":
		return "nobody has consented: grant admin consent for the application's permissions"
	case "AADSTS700027", "AADSTS700023", "AADSTS700024":
		return "the certificate or assertion was not accepted: upload the certificate to the app registration and check this machine's clock"
	case "AADSTS700213", "AADSTS70021", "AADSTS700211":
		return "no federated credential of the app registration fits issuer, subject and audience of the federated token"
	}
	switch {
	case status == 0:
		return "the sign-in service cannot be reached: check network, proxy and CA file"
	case status == http.StatusTooManyRequests, status >= 500:
		return "trouble at the sign-in service; it is tried again"
	}
	return "check tenant id, client id and credential of the app registration"
}
