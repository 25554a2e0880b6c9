package m365sim

import (
	"crypto/sha1" //nolint:gosec // G505: x5t is defined as a SHA-1 thumbprint
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// federatedAudience is what the token of another issuer must be meant for.
const federatedAudience = "api://AzureADTokenExchange"

// checkAssertion judges a client assertion: one that the app signed with its certificate, or a token of an issuer that it trusts.
func (s *Server) checkAssertion(r *http.Request, app *registration, assertion, tenantID string) error {
	var c jwt.RegisteredClaims
	if _, _, err := jwt.NewParser().ParseUnverified(assertion, &c); err == nil && slices.Contains(c.Audience, federatedAudience) {
		return s.checkFederated(app, assertion)
	}
	c = jwt.RegisteredClaims{}
	keyFor := func(t *jwt.Token) (any, error) {
		for _, cert := range app.certs {
			one := sha1.Sum(cert.Raw) //nolint:gosec // G401: x5t is defined as a SHA-1 thumbprint
			two := sha256.Sum256(cert.Raw)
			if thumbprint(t.Header["x5t"]) == base64.RawURLEncoding.EncodeToString(one[:]) || thumbprint(t.Header["x5t#S256"]) == base64.RawURLEncoding.EncodeToString(two[:]) {
				return cert.PublicKey, nil
			}
		}
		return nil, errors.New("no certificate with this thumbprint")
	}
	if _, err := jwt.ParseWithClaims(assertion, &c, keyFor, jwt.WithValidMethods([]string{"RS256", "PS256"}), jwt.WithoutClaimsValidation()); err != nil {
		if errors.Is(err, jwt.ErrTokenMalformed) {
			return newSignInError(http.StatusBadRequest, "invalid_request", 50027, "JWT token is invalid or malformed.")
		}
		return newSignInError(http.StatusUnauthorized, "invalid_client", 700027, "The certificate with identifier used to sign the client assertion is not registered on application, or the signature is not valid.")
	}
	if err := s.checkDates(&c); err != nil {
		return err
	}
	if !strings.EqualFold(c.Issuer, app.ClientID) || !strings.EqualFold(c.Subject, app.ClientID) {
		return newSignInError(http.StatusUnauthorized, "invalid_client", 700021, "Client assertion application identifier doesn't match 'client_id' parameter.")
	}
	for _, aud := range c.Audience {
		path, ok := strings.CutPrefix(aud, base(r)+"/")
		first, rest, _ := strings.Cut(path, "/")
		if ok && (strings.EqualFold(first, tenantID) || first == r.PathValue("tenant")) && slices.Contains([]string{"", "oauth2/token", "oauth2/v2.0/token", "v2.0"}, rest) {
			return nil
		}
	}
	return newSignInError(http.StatusUnauthorized, "invalid_client", 50012, "Client assertion audience claim does not match Realm issuer.")
}

// checkDates allows for clocks that differ by a few minutes.
func (s *Server) checkDates(c *jwt.RegisteredClaims) error {
	const slack = 5 * time.Minute
	now := s.now()
	if c.ExpiresAt == nil || now.After(c.ExpiresAt.Add(slack)) || c.NotBefore != nil && now.Before(c.NotBefore.Add(-slack)) {
		return newSignInError(http.StatusUnauthorized, "invalid_client", 700024, "Client assertion is not within its valid time range.")
	}
	return nil
}

func (s *Server) checkFederated(app *registration, assertion string) error {
	for _, f := range app.federated {
		var c jwt.RegisteredClaims
		_, err := jwt.ParseWithClaims(assertion, &c, func(*jwt.Token) (any, error) { return f.key, nil },
			jwt.WithValidMethods([]string{"RS256", "PS256", "ES256"}), jwt.WithoutClaimsValidation())
		if err == nil && c.Issuer == f.Issuer && c.Subject == f.Subject {
			return s.checkDates(&c)
		}
	}
	return newSignInError(http.StatusUnauthorized, "invalid_client", 700213, "No matching federated identity record found for presented assertion. Check your federated identity credential subject, audience and issuer against the presented assertion.")
}

// managedIdentity is the token endpoint of a machine that has an identity.
func (s *Server) managedIdentity(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Metadata") != "true" {
		writeJSON(w, r, http.StatusBadRequest, map[string]string{"error": "invalid_request", "error_description": "Required metadata header not specified"})
		return
	}
	resource := r.URL.Query().Get("resource")
	kind, ok := resourceKind(resource, base(r))
	if !ok {
		writeJSON(w, r, http.StatusBadRequest, map[string]string{"error": "invalid_resource", "error_description": "AADSTS500011: The resource principal named " + printable(resource) + " was not found."})
		return
	}
	app := s.apps[strings.ToLower(s.cfg.Apps[0].ClientID)]
	body, err := s.grantTo(app, s.order[0].ID(), resource, kind, false)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	body["client_id"] = app.ClientID
	writeJSON(w, r, http.StatusOK, body)
}
