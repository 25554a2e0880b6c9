package m365sim

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
)

// Resources that tokens can be asked for, with the name by which the ledger knows them.
const (
	manageAppID = "c5393580-f805-4401-95e8-94b7a6ef2fc2"
	graphAppID  = "00000003-0000-0000-c000-000000000000"
)

func resourceKind(resource, self string) (string, bool) {
	switch strings.TrimSuffix(strings.ToLower(resource), "/") {
	case "https://manage.office.com", "https://manage-gcc.office.com", "https://manage.office365.us", "https://manage.protection.apps.mil", "https://manage.office365.cn", manageAppID, "api://" + manageAppID:
		return "manage", true
	case "https://graph.microsoft.com", "https://graph.microsoft.us", "https://dod-graph.microsoft.us", "https://microsoftgraph.chinacloudapi.cn", graphAppID:
		return "graph", true
	case strings.ToLower(self):
		return "any", true
	}
	return "", false
}

// defaultRoles are the application permissions of an app that names none.
func defaultRoles() []string {
	return []string{
		"ActivityFeed.Read", "ActivityFeed.ReadDlp", "User.Read.All", "Group.Read.All", "GroupMember.Read.All", "Directory.Read.All",
		"Application.Read.All", "AuditLog.Read.All", "Organization.Read.All", "Domain.Read.All", "LicenseAssignment.Read.All",
	}
}

func (s *Server) signInRoutes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{tenant}/v2.0/.well-known/openid-configuration", s.discovery)
	mux.HandleFunc("GET /{tenant}/.well-known/openid-configuration", s.discovery)
	mux.HandleFunc("GET /{tenant}/discovery/v2.0/keys", s.publicKeys)
	mux.HandleFunc("GET /common/discovery/instance", s.instanceDiscovery)
	mux.HandleFunc("POST /{tenant}/oauth2/token", s.token)
	mux.HandleFunc("POST /{tenant}/oauth2/v2.0/token", s.token)
	if s.cfg.ManagedIdentity {
		mux.HandleFunc("GET /metadata/identity/oauth2/token", s.managedIdentity)
	}
	return mux
}

// base is the simulator's own address as the client wrote it.
func base(r *http.Request) string {
	if r.TLS == nil {
		return "http://" + r.Host
	}
	return "https://" + r.Host
}

func (s *Server) discovery(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("tenant")
	if id != "common" && id != "organizations" && s.findTenant(id) == nil {
		s.refuseSignIn(w, r, errNoSuchTenant(id))
		return
	}
	b := base(r) + "/" + id
	writeJSON(w, r, http.StatusOK, map[string]any{
		"issuer": b + "/v2.0", "authorization_endpoint": b + "/oauth2/v2.0/authorize", "token_endpoint": b + "/oauth2/v2.0/token",
		"device_authorization_endpoint": b + "/oauth2/v2.0/devicecode", "end_session_endpoint": b + "/oauth2/v2.0/logout", "jwks_uri": b + "/discovery/v2.0/keys",
		"token_endpoint_auth_methods_supported": []string{"client_secret_post", "private_key_jwt", "client_secret_basic"},
		"response_types_supported":              []string{"code", "token"}, "subject_types_supported": []string{"pairwise"},
		"id_token_signing_alg_values_supported": []string{"RS256"}, "scopes_supported": []string{"openid", "profile", "email", "offline_access"},
		"tenant_region_scope": "EU", "cloud_instance_name": r.Host, "cloud_graph_host_name": r.Host, "msgraph_host": r.Host,
	})
}

func (s *Server) publicKeys(w http.ResponseWriter, r *http.Request) {
	pub := &s.keys.key.PublicKey
	writeJSON(w, r, http.StatusOK, map[string]any{"keys": []any{map[string]string{
		"kty": "RSA", "use": "sig", "kid": s.keys.kid, "x5t": s.keys.kid,
		"n": base64.RawURLEncoding.EncodeToString(pub.N.Bytes()), "e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(pub.E)).Bytes()),
	}}})
}

func (s *Server) instanceDiscovery(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, r, http.StatusOK, map[string]any{
		"tenant_discovery_endpoint": base(r) + "/common/v2.0/.well-known/openid-configuration", "api-version": "1.1",
		"metadata": []any{map[string]any{"preferred_network": r.Host, "preferred_cache": r.Host, "aliases": []string{r.Host}}},
	})
}

func errNoSuchTenant(id string) *signInError {
	return newSignInError(http.StatusBadRequest, "invalid_request", 90002, "Tenant '%s' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud.", printable(id))
}

// token answers both token endpoints; the one of version 1 writes its numbers as strings.
func (s *Server) token(w http.ResponseWriter, r *http.Request) {
	fault, hit := s.faults.draw("token", r.PathValue("tenant"), "")
	if hit {
		s.books.request("token", "fault "+fault.Name)
		if fault.instead() {
			s.spoil(w, r, fault)
			return
		}
	}
	body, err := s.grant(r)
	var refused *signInError
	switch {
	case errors.As(err, &refused):
		s.books.request("token", "AADSTS"+strconv.Itoa(refused.code))
		s.refuseSignIn(w, r, refused)
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	default:
		s.books.request("token", "ok")
		w.Header().Set("Cache-Control", "no-store, no-cache")
		w.Header().Set("Pragma", "no-cache")
		s.answer(w, r, body, fault, hit)
	}
}

func (s *Server) refuseSignIn(w http.ResponseWriter, r *http.Request, e *signInError) {
	now := s.now()
	trace, correlation := uuid.NewString(), r.Header.Get("client-request-id")
	if _, err := uuid.Parse(correlation); err != nil {
		correlation = uuid.NewString()
	}
	stamp := now.Format("2006-01-02 15:04:05Z")
	writeJSON(w, r, e.status, map[string]any{
		"error":             e.kind,
		"error_description": fmt.Sprintf("AADSTS%d: %s Trace ID: %s Correlation ID: %s Timestamp: %s", e.code, e.text, trace, correlation, stamp),
		"error_codes":       []int{e.code}, "timestamp": stamp, "trace_id": trace, "correlation_id": correlation,
		"error_uri": base(r) + "/error?code=" + strconv.Itoa(e.code),
	})
}

// grant checks a token request and makes the answer.
func (s *Server) grant(r *http.Request) (map[string]any, error) {
	if err := r.ParseForm(); err != nil {
		return nil, newSignInError(http.StatusBadRequest, "invalid_request", 900561, "The endpoint only accepts POST requests with a form body.")
	}
	form := r.PostForm
	switch g := form.Get("grant_type"); g {
	case "client_credentials":
	case "":
		return nil, missingParameter("grant_type")
	default:
		return nil, newSignInError(http.StatusBadRequest, "unsupported_grant_type", 70003, "The app requested an unsupported grant type '%s'.", printable(g))
	}
	t := s.findTenant(r.PathValue("tenant"))
	if t == nil {
		return nil, errNoSuchTenant(r.PathValue("tenant"))
	}
	v2 := strings.HasSuffix(r.URL.Path, "/v2.0/token")
	resource, err := wantedResource(form.Get("resource"), form.Get("scope"), v2)
	if err != nil {
		return nil, err
	}
	app, err := s.authenticate(r, t.ID())
	if err != nil {
		return nil, err
	}
	kind, ok := resourceKind(resource, base(r))
	if !ok {
		return nil, newSignInError(http.StatusBadRequest, "invalid_resource", 500011, "The resource principal named %s was not found in the tenant named %s.", printable(resource), t.ID())
	}
	return s.grantTo(app, t.ID(), resource, kind, v2)
}

func missingParameter(name string) *signInError {
	return newSignInError(http.StatusBadRequest, "invalid_request", 900144, "The request body must contain the following parameter: '%s'.", name)
}

// wantedResource reads what a token is for: the resource of version 1 or the one scope of version 2 that ends in /.default.
func wantedResource(resource, scope string, v2 bool) (string, error) {
	if !v2 {
		if resource == "" {
			return "", missingParameter("resource")
		}
		return resource, nil
	}
	if scope == "" {
		return "", missingParameter("scope")
	}
	for f := range strings.FieldsSeq(scope) {
		if name, ok := strings.CutSuffix(f, "/.default"); ok {
			return name, nil
		}
	}
	return "", newSignInError(http.StatusBadRequest, "invalid_scope", 1002012, "The provided value for scope %s is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier.", printable(scope))
}

func (s *Server) grantTo(app *registration, tenantID, resource, kind string, v2 bool) (map[string]any, error) {
	now := s.now().Truncate(time.Second)
	life := s.cfg.TokenLife
	var roles []string
	for _, role := range app.Roles {
		if feed := strings.HasPrefix(role, "ActivityFeed."); kind == "any" || feed == (kind == "manage") {
			roles = append(roles, role)
		}
	}
	c := &claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: "https://sts.windows.net/" + tenantID + "/", Audience: jwt.ClaimStrings{resource}, Subject: objectOf(app.ClientID),
			IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(life)),
		},
		AppID: app.ClientID, OID: objectOf(app.ClientID), TID: tenantID, Roles: roles, Idtyp: "app", UTI: uuid.NewString(), Version: "1.0",
	}
	token, err := s.keys.issue(c)
	if err != nil {
		return nil, fmt.Errorf("sign token: %w", err)
	}
	seconds := int(life.Seconds())
	s.books.token(kind)
	if v2 {
		return map[string]any{"token_type": "Bearer", "expires_in": seconds, "ext_expires_in": seconds, "access_token": token}, nil
	}
	return map[string]any{
		"token_type": "Bearer", "expires_in": strconv.Itoa(seconds), "ext_expires_in": strconv.Itoa(seconds), "expires_on": strconv.FormatInt(now.Add(life).Unix(), 10),
		"not_before": strconv.FormatInt(now.Unix(), 10), "resource": resource, "access_token": token,
	}, nil
}

// objectOf is the object id of an app's service principal.
func objectOf(clientID string) string {
	return uuid.NewSHA1(uuid.NameSpaceOID, []byte(clientID)).String()
}

const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// authenticate finds the app of a request and checks its secret or its assertion.
func (s *Server) authenticate(r *http.Request, tenantID string) (*registration, error) {
	form := r.PostForm
	id, secret := form.Get("client_id"), form.Get("client_secret")
	if user, pass, ok := r.BasicAuth(); ok {
		id, secret = user, pass
	}
	if id == "" {
		return nil, missingParameter("client_id")
	}
	app := s.apps[strings.ToLower(id)]
	if app == nil {
		return nil, newSignInError(http.StatusBadRequest, "unauthorized_client", 700016, "Application with identifier '%s' was not found in the directory '%s'. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant.", printable(id), tenantID)
	}
	if app.Disabled {
		return nil, newSignInError(http.StatusUnauthorized, "unauthorized_client", 7000112, "Application '%s' is disabled.", app.ClientID)
	}
	assertion := form.Get("client_assertion")
	switch {
	case assertion != "":
		if form.Get("client_assertion_type") != assertionType {
			return nil, newSignInError(http.StatusBadRequest, "invalid_request", 50027, "The client_assertion_type must be '%s'.", assertionType)
		}
		return app, s.checkAssertion(r, app, assertion, tenantID)
	case secret == "":
		return nil, newSignInError(http.StatusUnauthorized, "invalid_client", 7000218, "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.")
	case app.Secret == "" || secret != app.Secret:
		return nil, newSignInError(http.StatusUnauthorized, "invalid_client", 7000215, "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '%s'.", app.ClientID)
	case !app.SecretExpires.IsZero() && !s.now().Before(app.SecretExpires):
		return nil, newSignInError(http.StatusUnauthorized, "invalid_client", 7000222, "The provided client secret keys for app '%s' are expired.", app.ClientID)
	}
	return app, nil
}

// thumbprint brings a thumbprint to one alphabet: clients write it in either form of base64.
func thumbprint(header any) string {
	text, _ := header.(string)
	return strings.NewReplacer("+", "-", "/", "_", "=", "").Replace(text)
}

// printable shortens and cleans text of a client before it is written back.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < 0x20 || r > 0x7e {
			return '?'
		}
		return r
	}, s)
	return s[:min(len(s), 200)]
}

func writeJSON(w http.ResponseWriter, r *http.Request, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "cannot encode the answer", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_ = send(w, r, status, body) // the client is gone; nobody is left to tell
}
