package m365sim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"millrace/internal/m365sim/tenant"
)

// call is one request to the Management Activity API that has a valid token.
type call struct {
	r         *http.Request
	tenant    *tenant.Tenant
	id        string // tenant id, lower case
	app       string // client id of the caller, lower case
	claims    *claims
	query     map[string]string // keys in lower case
	publisher string
	now       time.Time
}

func (c *call) key(contentType string) subKey { return subKey{c.id, c.app, contentType} }

// reply is the answer to a call that went well.
type reply struct {
	body   []byte
	header http.Header
	done   func(sent bool) // called once the body is written, or was not
}

const feedPrefix = "/api/v1.0/{tenant}/activity/feed/"

func (s *Server) feedRoutes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+feedPrefix+"subscriptions/start", s.operation("start", "Start", s.startSubscription))
	mux.HandleFunc("POST "+feedPrefix+"subscriptions/stop", s.operation("stop", "Stop", s.stopSubscription))
	mux.HandleFunc("GET "+feedPrefix+"subscriptions/list", s.operation("list", "GetSubscriptions", s.listSubscriptions))
	mux.HandleFunc("GET "+feedPrefix+"subscriptions/content", s.operation("content", "GetAvailableContent", s.listContent))
	mux.HandleFunc("GET "+feedPrefix+"subscriptions/notifications", s.operation("notifications", "GetNotifications", s.listNotifications))
	mux.HandleFunc("GET "+feedPrefix+"audit/{id...}", s.operation("blob", "GetBlob", s.getBlob))
	mux.HandleFunc("GET "+feedPrefix+"resources/dlpSensitiveTypes", s.operation("resources", "GetResource", s.sensitiveTypes))
	return mux
}

func serverHeaders(h http.Header) {
	h.Set("Cache-Control", "no-cache")
	h.Set("Pragma", "no-cache")
	h.Set("Expires", "-1")
	h.Set("Server", "Microsoft-IIS/10.0")
	h.Set("X-AspNet-Version", "4.0.30319")
	h.Set("X-Powered-By", "ASP.NET")
}

// operation wraps the handler of one operation with all that every operation has: faults, token, tenant, quota, books.
func (s *Server) operation(name, method string, handle func(*call) (*reply, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		serverHeaders(w.Header())
		query := foldQuery(r)
		fault, hit := s.faults.draw(name, r.PathValue("tenant"), query["contenttype"])
		if hit && fault.instead() {
			s.books.request(name, "fault "+fault.Name)
			s.spoil(w, r, fault)
			return
		}
		out, err := s.serve(r, query, method, handle)
		if err != nil {
			s.answerError(w, r, name, err)
			return
		}
		body := out.body
		if hit {
			s.books.request(name, "fault "+fault.Name)
			if out.done != nil {
				defer out.done(false)
			}
			w, body = s.spoilBody(w, body, fault)
		} else {
			s.books.request(name, "ok")
		}
		h := w.Header()
		maps.Copy(h, out.header)
		if len(body) > 0 {
			h.Set("Content-Type", "application/json; charset=utf-8")
		}
		err = send(w, r, http.StatusOK, body)
		if out.done != nil && !hit {
			out.done(err == nil)
		}
	}
}

// serve runs the checks that come before every operation, in the order of the real service, and the operation.
func (s *Server) serve(r *http.Request, query map[string]string, method string, handle func(*call) (*reply, error)) (*reply, error) {
	c := &call{r: r, query: query, now: s.now(), id: strings.ToLower(r.PathValue("tenant"))}
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return nil, errUnauthorized
	}
	var err error
	if c.claims, err = s.keys.check(token, "manage", base(r), c.now); err != nil {
		return nil, errUnauthorized
	}
	c.app = strings.ToLower(c.claims.AppID)
	if _, err := uuid.Parse(c.id); err != nil || len(c.id) != 36 {
		return nil, errTenantNotGUID(printable(r.PathValue("tenant")))
	}
	if !strings.EqualFold(c.id, c.claims.TID) {
		return nil, errTenantMismatch(c.id, c.claims.TID)
	}
	if c.tenant = s.tenants[c.id]; c.tenant == nil {
		return nil, errTenantUnknown(c.id)
	}
	c.publisher = query["publisheridentifier"]
	if _, err := uuid.Parse(c.publisher); err != nil && c.publisher != "" {
		return nil, errType("PublisherIdentifier", "guid")
	}
	if err := s.admit(c, method); err != nil {
		return nil, err
	}
	switch {
	case s.cfg.Unlicensed:
		return nil, errTenantMisconfigured(c.id)
	case s.cfg.AuditingOff:
		return nil, errAuditingOff(c.id)
	case !c.claims.hasRole("ActivityFeed.Read"):
		return nil, errPermission(strings.Join(c.claims.Roles, " "), "ActivityFeed.Read")
	}
	return handle(c)
}

// admit takes one request from the quota. Callers that do not say who they are share one bucket.
func (s *Server) admit(c *call, method string) error {
	key, publisher := c.id, c.publisher
	if publisher == "" {
		key, publisher = "", "00000000-0000-0000-0000-000000000000"
		s.books.improper("no PublisherIdentifier")
	}
	if s.quota.take(key, c.now) {
		return nil
	}
	s.books.improper("over the quota")
	return errThrottled(s.cfg.ThrottleStatus, method, publisher)
}

var errUnauthorized = errors.New("unauthorized")

func (s *Server) answerError(w http.ResponseWriter, r *http.Request, name string, err error) {
	var refused *feedError
	switch {
	case errors.As(err, &refused):
		s.books.request(name, refused.code)
		if refused.code == "AF429" && s.cfg.RetryAfter > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(s.cfg.RetryAfter.Seconds())))
		}
		s.refuse(w, r, refused)
	case errors.Is(err, errUnauthorized):
		s.books.request(name, "401")
		s.refuseToken(w, r)
	default:
		s.log.Error("simulator cannot answer", "operation", name, "err", err)
		s.books.request(name, "broken")
		s.refuse(w, r, errInternal())
	}
}

func (s *Server) refuse(w http.ResponseWriter, r *http.Request, e *feedError) {
	writeJSON(w, r, e.status, map[string]any{"error": map[string]string{"code": e.code, "message": e.message}})
}

func (s *Server) refuseToken(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("WWW-Authenticate", "Bearer")
	writeJSON(w, r, http.StatusUnauthorized, map[string]string{"Message": "Authorization has been denied for this request."})
}

// foldQuery reads the query with keys in lower case: the service takes any case.
func foldQuery(r *http.Request) map[string]string {
	out := map[string]string{}
	for k, v := range r.URL.Query() {
		out[strings.ToLower(k)] = v[0]
	}
	return out
}

func (s *Server) findTenant(name string) *tenant.Tenant {
	if t := s.tenants[strings.ToLower(name)]; t != nil {
		return t
	}
	for _, t := range s.order {
		if slices.Contains(t.DomainNames(), strings.ToLower(name)) {
			return t
		}
	}
	return nil
}

// contentType reads the content type of a call and checks that the caller may have it.
func (c *call) contentType() (string, error) {
	ct := c.query["contenttype"]
	if ct == "" {
		return "", errMissing("contentType")
	}
	for _, known := range tenant.ContentTypes() {
		if !strings.EqualFold(ct, known) {
			continue
		}
		if known == tenant.DLP && !c.claims.hasRole("ActivityFeed.ReadDlp") {
			return "", errPermission(strings.Join(c.claims.Roles, " "), "ActivityFeed.ReadDlp")
		}
		return known, nil
	}
	return "", errContentType()
}

// subscription returns the enabled subscription of a content type.
func (s *Server) subscription(c *call, contentType string) (subscription, error) {
	sub, ok := s.subs.get(c.key(contentType))
	switch {
	case !ok:
		return sub, errNoSubscription()
	case !sub.enabled:
		return sub, errDisabled()
	}
	return sub, nil
}

// webhookView is a webhook as the API shows it.
type webhookView struct {
	Status     string  `json:"status"`
	Address    string  `json:"address"`
	AuthID     string  `json:"authId"`
	Expiration *string `json:"expiration"`
}

// subscriptionView is a subscription as the API shows it.
type subscriptionView struct {
	ContentType string       `json:"contentType"`
	Status      string       `json:"status"`
	Webhook     *webhookView `json:"webhook"`
}

func view(contentType string, sub subscription, now time.Time) subscriptionView {
	v := subscriptionView{ContentType: contentType, Status: "disabled"}
	if sub.enabled {
		v.Status = "enabled"
	}
	if h := sub.hook; h != nil {
		v.Webhook = &webhookView{Status: h.status(now), Address: h.Address, AuthID: h.AuthID}
		if !h.Expiration.IsZero() {
			text := h.Expiration.Format(envelopeTime)
			v.Webhook.Expiration = &text
		}
	}
	return v
}

// envelopeTime is how the API writes times outside records.
const envelopeTime = "2006-01-02T15:04:05.000Z"

func (s *Server) listSubscriptions(c *call) (*reply, error) {
	views := []subscriptionView{}
	for _, ct := range tenant.ContentTypes() {
		if sub, ok := s.subs.get(c.key(ct)); ok {
			views = append(views, view(ct, sub, c.now))
		}
	}
	return jsonReply(views)
}

func jsonReply(v any) (*reply, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode answer: %w", err)
	}
	return &reply{body: body}, nil
}

// minStartGap is the time that must pass between two starts of one subscription (reference, "Start a subscription").
const minStartGap = 15 * time.Minute

func (s *Server) startSubscription(c *call) (*reply, error) {
	ct, err := c.contentType()
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(c.r.Body)
	if err != nil {
		return nil, errType("webhook", "object")
	}
	old, known := s.subs.get(c.key(ct))
	if known && c.now.Sub(old.started) < minStartGap && !old.started.IsZero() {
		s.books.improper("start repeated within 15 minutes")
	}
	hook, changed, err := s.wantedWebhook(c, body, old)
	if err != nil {
		return nil, err
	}
	if known && old.enabled && !changed {
		return nil, errAlreadyEnabled()
	}
	e := event{Kind: eventStart, At: c.now, From: c.now, Tenant: c.id, App: c.app, ContentType: ct, Webhook: hook}
	if !known && s.cfg.Backfill > 0 {
		e.From = c.now.Add(-s.cfg.Backfill)
	}
	if err := s.record(e); err != nil {
		return nil, err
	}
	sub, _ := s.subs.get(c.key(ct))
	return jsonReply(view(ct, sub, c.now))
}

func (s *Server) stopSubscription(c *call) (*reply, error) {
	ct, err := c.contentType()
	if err != nil {
		return nil, err
	}
	if sub, ok := s.subs.get(c.key(ct)); !ok || !sub.enabled {
		return nil, errNoSubscription()
	}
	s.books.improper("stop called")
	if err := s.record(event{Kind: eventStop, At: c.now, Tenant: c.id, App: c.app, ContentType: ct}); err != nil {
		return nil, err
	}
	return &reply{}, nil
}

// sensitiveTypes answers with the friendly names of DLP types, in the one language that exists here.
func (s *Server) sensitiveTypes(c *call) (*reply, error) {
	if langs := c.r.Header.Get("Accept-Language"); langs != "" {
		if strings.Contains(langs, ",") {
			return nil, errLanguages()
		}
		tag, q, _ := strings.Cut(langs, ";")
		if !validLanguage(strings.TrimSpace(tag)) || q != "" && !strings.HasPrefix(strings.TrimSpace(q), "q=") {
			return nil, errLanguageSyntax()
		}
	}
	if !c.claims.hasRole("ActivityFeed.ReadDlp") {
		return nil, errPermission(strings.Join(c.claims.Roles, " "), "ActivityFeed.ReadDlp")
	}
	type named struct {
		ID   string `json:"id"`
		Name string `json:"name"`
	}
	return jsonReply([]named{{"50842eb7-edc8-4019-85dd-5a5c1f2bb085", "CreditCardNumber"}, {"e7dc4711-11b7-4cb0-b88b-2c394a771f0e", "InternationalBankingAccountNumber(IBAN)"}})
}

// validLanguage accepts tags such as en, en-US and zh-Hans-CN.
func validLanguage(tag string) bool {
	for i, part := range strings.Split(tag, "-") {
		if len(part) < 2 || len(part) > 8 || i == 0 && len(part) > 3 || strings.IndexFunc(part, func(r rune) bool { return !(r >= '0' && r <= '9' || r|0x20 >= 'a' && r|0x20 <= 'z') }) >= 0 {
			return false
		}
	}
	return true
}

// decodeStrict reads one JSON object and nothing after it.
func decodeStrict(body []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(body))
	if err := dec.Decode(v); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one JSON value")
	}
	return nil
}
