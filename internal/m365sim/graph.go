package m365sim

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"millrace/internal/m365sim/tenant"
)

// Pages of Graph and the life of its delta tokens.
const (
	graphPage     = 100
	maxGraphPage  = 999
	deltaLifetime = 7 * 24 * time.Hour
)

// graphError is an answer of Graph that is not a success.
type graphError struct {
	status   int
	code     string
	message  string
	location string // where to begin again, for an expired delta token
}

func (e *graphError) Error() string { return e.code + ": " + e.message }

// graphCall is one request to Graph that has a valid token.
type graphCall struct {
	r      *http.Request
	tenant *tenant.Tenant
	claims *claims
	now    time.Time
}

func (s *Server) graphRoutes() *http.ServeMux {
	mux := http.NewServeMux()
	for _, root := range []string{"GET /v1.0", "GET /beta"} {
		mux.HandleFunc(root+"/users/delta", s.graphOperation("User.Read.All", s.usersDelta))
		mux.HandleFunc(root+"/users", s.graphOperation("User.Read.All", s.usersList))
		mux.HandleFunc(root+"/groups/delta", s.graphOperation("Group.Read.All", s.groupsDelta))
		mux.HandleFunc(root+"/groups/{id}/members", s.graphOperation("GroupMember.Read.All", s.groupMembers))
		mux.HandleFunc(root+"/servicePrincipals/delta", s.graphOperation("Application.Read.All", s.servicePrincipalsDelta))
		mux.HandleFunc(root+"/subscribedSkus", s.graphOperation("LicenseAssignment.Read.All", s.subscribedSkus))
		mux.HandleFunc(root+"/organization", s.graphOperation("Organization.Read.All", s.organization))
		mux.HandleFunc(root+"/domains", s.graphOperation("Domain.Read.All", s.domains))
		mux.HandleFunc(root+"/auditLogs/signIns", s.graphOperation("AuditLog.Read.All", s.signIns))
	}
	mux.HandleFunc("/", s.graphOperation("", func(c *graphCall) (any, error) {
		return nil, &graphError{status: http.StatusBadRequest, code: "BadRequest", message: "Resource not found for the segment '" + printable(c.r.URL.Path) + "'."}
	}))
	return mux
}

// graphOperation wraps the handler of one operation with faults, token, role and books.
func (s *Server) graphOperation(role string, handle func(*graphCall) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		fault, hit := s.faults.draw("graph", "", "")
		if hit {
			s.books.request("graph", "fault "+fault.Name)
			if fault.instead() {
				s.spoilGraph(w, r, fault)
				return
			}
		}
		body, err := s.serveGraph(r, role, handle)
		if refused, ok := errors.AsType[*graphError](err); ok {
			s.refuseGraph(w, r, refused)
			return
		}
		if err != nil {
			s.log.Error("simulator cannot answer", "operation", "graph", "err", err)
			s.refuseGraph(w, r, &graphError{status: http.StatusInternalServerError, code: "InternalServerError", message: "Internal error."})
			return
		}
		s.books.request("graph", "ok")
		w.Header().Set("request-id", uuid.NewString())
		s.answer(w, r, body, fault, hit)
	}
}

func (s *Server) serveGraph(r *http.Request, role string, handle func(*graphCall) (any, error)) (any, error) {
	now := s.now()
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return nil, &graphError{status: http.StatusUnauthorized, code: "InvalidAuthenticationToken", message: "Access token is empty."}
	}
	cl, err := s.keys.check(token, "graph", base(r), now)
	if err != nil {
		return nil, &graphError{status: http.StatusUnauthorized, code: "InvalidAuthenticationToken", message: "Access token validation failure."}
	}
	t := s.tenants[strings.ToLower(cl.TID)]
	if t == nil {
		return nil, &graphError{status: http.StatusUnauthorized, code: "InvalidAuthenticationToken", message: "The tenant of the token is unknown."}
	}
	if role != "" && !cl.hasRole(role) && !cl.hasRole("Directory.Read.All") {
		return nil, &graphError{status: http.StatusForbidden, code: "Authorization_RequestDenied", message: "Insufficient privileges to complete the operation."}
	}
	return handle(&graphCall{r: r, tenant: t, claims: cl, now: now})
}

func (s *Server) refuseGraph(w http.ResponseWriter, r *http.Request, e *graphError) {
	s.books.request("graph", e.code)
	if e.location != "" {
		w.Header().Set("Location", e.location)
	}
	writeJSON(w, r, e.status, map[string]any{"error": map[string]any{"code": e.code, "message": e.message, "innerError": map[string]string{
		"date": s.now().Format("2006-01-02T15:04:05"), "request-id": uuid.NewString(), "client-request-id": printable(r.Header.Get("client-request-id")),
	}}})
}

// spoilGraph writes the Graph form of a fault that replaces the answer.
func (s *Server) spoilGraph(w http.ResponseWriter, r *http.Request, f Fault) {
	var refused *graphError
	switch f.Name {
	case FaultThrottle403, FaultThrottle429:
		w.Header().Set("Retry-After", "1")
		refused = &graphError{status: http.StatusTooManyRequests, code: "TooManyRequests", message: "Too many requests."}
	case FaultInternal:
		refused = &graphError{status: http.StatusInternalServerError, code: "generalException", message: "General exception while processing."}
	case FaultUnauthorized:
		refused = &graphError{status: http.StatusUnauthorized, code: "InvalidAuthenticationToken", message: "Lifetime validation failed, the token is expired."}
	default:
		s.spoil(w, r, f)
		return
	}
	s.refuseGraph(w, r, refused)
}

// cursor is the content of a skip or delta token.
type cursor struct {
	Kind   string `json:"k"`           // the collection
	Offset int    `json:"o,omitempty"` // into it, for a skip token
	Since  int64  `json:"s,omitempty"` // Unix seconds: changes after this are wanted; zero is everything
	At     int64  `json:"a"`           // Unix seconds: when the round began
	Select string `json:"q,omitempty"`
}

func (c cursor) encode() string {
	text, err := json.Marshal(c)
	if err != nil {
		return "" // a struct of numbers and strings always encodes
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// deltaRound reads where a delta request goes on. The first request has no token.
func (c *graphCall) deltaRound(kind string) (cursor, error) {
	q := c.r.URL.Query()
	token := q.Get("$skiptoken")
	if token == "" {
		token = q.Get("$deltatoken")
	}
	if token == "" {
		cur := cursor{Kind: kind, At: c.now.Unix(), Select: q.Get("$select")}
		if cur.Select != "" && strings.Contains(q.Get("$expand"), "members") {
			cur.Select += ",members"
		}
		return cur, nil
	}
	restart := base(c.r) + c.r.URL.Path
	text, err := base64.RawURLEncoding.DecodeString(token)
	var cur cursor
	if err != nil || json.Unmarshal(text, &cur) != nil || cur.Kind != kind || cur.Offset < 0 {
		return cursor{}, &graphError{status: http.StatusBadRequest, code: "BadRequest", message: "Badly formed token."}
	}
	if at := time.Unix(cur.At, 0); c.now.Sub(at) > deltaLifetime {
		return cursor{}, &graphError{status: http.StatusGone, code: "syncStateNotFound", message: "The sync state generation is not found; start again.", location: restart}
	}
	if q.Get("$skiptoken") == "" { // a new round: what changed since the last one began
		cur = cursor{Kind: kind, Since: cur.At, At: c.now.Unix(), Select: cur.Select}
	}
	return cur, nil
}

func (c *graphCall) pageSize() int {
	for part := range strings.SplitSeq(c.r.Header.Get("Prefer"), ",") {
		if v, ok := strings.CutPrefix(strings.TrimSpace(part), "odata.maxpagesize="); ok {
			if n, err := strconv.Atoi(v); err == nil {
				return min(max(n, 1), maxGraphPage)
			}
		}
	}
	if n, err := strconv.Atoi(c.r.URL.Query().Get("$top")); err == nil {
		return min(max(n, 1), maxGraphPage)
	}
	return graphPage
}

// deltaPage cuts one page out of the objects of a round and adds the link to the next page or the next round.
func (c *graphCall) deltaPage(cur cursor, context string, objects []map[string]any) (any, error) {
	from := min(cur.Offset, len(objects))
	to := min(from+c.pageSize(), len(objects))
	page := objects[from:to]
	if cur.Select != "" {
		keep := strings.Split(cur.Select, ",")
		for _, o := range page {
			for k := range o {
				if k != "id" && !strings.HasPrefix(k, "@") && !slices.Contains(keep, strings.TrimSuffix(k, "@delta")) {
					delete(o, k)
				}
			}
		}
	}
	if page == nil {
		page = []map[string]any{}
	}
	out := map[string]any{"@odata.context": base(c.r) + "/v1.0/$metadata#" + context, "value": page}
	link := base(c.r) + c.r.URL.Path
	if to < len(objects) {
		cur.Offset = to
		out["@odata.nextLink"] = link + "?$skiptoken=" + url.QueryEscape(cur.encode())
	} else {
		cur.Offset = 0
		out["@odata.deltaLink"] = link + "?$deltatoken=" + url.QueryEscape(cur.encode())
	}
	return out, nil
}
