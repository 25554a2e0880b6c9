package webhook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"millrace/pkg/audit"
)

const (
	known = "11111111-2222-3333-4444-555555555555"
	host  = "https://manage.example.org"
)

func receiver(t testing.TB, hinted func(audit.TenantID, audit.ContentType)) *Receiver {
	t.Helper()
	r, err := New(Config{
		Path:   "/hook",
		AuthID: func() (string, error) { return "swordfish", nil },
		API:    func(id audit.TenantID) (string, bool) { return host, id == known },
		Hint:   hinted,
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func notification(tenant, ct, link string) string {
	return fmt.Sprintf(`{"tenantId":%q,"clientId":"c","contentType":%q,"contentId":"x","contentUri":%q,"contentCreated":"2026-03-02T10:00:00Z"}`, tenant, ct, link)
}

func request(method, path, authID, code, body string) *http.Request {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if authID != "" {
		r.Header.Set("Webhook-AuthID", authID)
	}
	if code != "" {
		r.Header.Set("Webhook-ValidationCode", code)
	}
	return r
}

func TestRequests(t *testing.T) {
	t.Parallel()
	good := notification(known, "Audit.General", host+"/api/v1.0/x")
	many := "[" + strings.Repeat(good+",", maxEntries) + good + "]"
	tests := []struct {
		name                             string
		method, path, authID, code, body string
		status, hints                    int
	}{
		{"notification", "POST", "/hook", "swordfish", "", "[" + good + "," + good + "]", 200, 1},
		{"validation", "POST", "/hook", "swordfish", "code", `{"validationCode":"code"}`, 200, 0},
		{"validation of another code", "POST", "/hook", "swordfish", "code", `{"validationCode":"other"}`, 400, 0},
		{"validation without auth id", "POST", "/hook", "", "code", `{"validationCode":"code"}`, 401, 0},
		{"no auth id", "POST", "/hook", "", "", "[" + good + "]", 401, 0},
		{"wrong auth id", "POST", "/hook", "swordfisH", "", "[" + good + "]", 401, 0},
		{"wrong path", "POST", "/", "swordfish", "", "[" + good + "]", 404, 0},
		{"wrong method", "GET", "/hook", "swordfish", "", "", 405, 0},
		{"unknown tenant", "POST", "/hook", "swordfish", "", "[" + notification("99999999-2222-3333-4444-555555555555", "Audit.General", host) + "]", 200, 0},
		{"unknown content type", "POST", "/hook", "swordfish", "", "[" + notification(known, "Audit.Teams", host) + "]", 200, 0},
		{"foreign host", "POST", "/hook", "swordfish", "", "[" + notification(known, "Audit.General", "https://evil.example.org/x") + "]", 200, 0},
		{"http", "POST", "/hook", "swordfish", "", "[" + notification(known, "Audit.General", "http://manage.example.org/x") + "]", 200, 0},
		{"user information", "POST", "/hook", "swordfish", "", "[" + notification(known, "Audit.General", "https://a@manage.example.org/x") + "]", 200, 0},
		{"no json", "POST", "/hook", "swordfish", "", "<html>", 400, 0},
		{"cut short", "POST", "/hook", "swordfish", "", "[" + good, 400, 0},
		{"object", "POST", "/hook", "swordfish", "", good, 400, 0},
		{"deep", "POST", "/hook", "swordfish", "", "[" + strings.Repeat("[", 100_000), 400, 0},
		{"too large", "POST", "/hook", "swordfish", "", strings.Repeat(" ", maxBody+1), 413, 0},
		{"too many", "POST", "/hook", "swordfish", "", many, 400, 0},
		{"empty", "POST", "/hook", "swordfish", "", "", 400, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := receiver(t, func(audit.TenantID, audit.ContentType) { t.Error("worked before it answered") })
			w := httptest.NewRecorder()
			r.ServeHTTP(w, request(tt.method, tt.path, tt.authID, tt.code, tt.body))
			if w.Code != tt.status || len(r.hints) != tt.hints || w.Body.Len() != 0 {
				t.Errorf("status %d, %d hints, %d bytes; want %d, %d, 0", w.Code, len(r.hints), w.Body.Len(), tt.status, tt.hints)
			}
		})
	}
}

func TestOverload(t *testing.T) {
	t.Parallel()
	r := receiver(t, func(audit.TenantID, audit.ContentType) {})
	for range maxAtOnce {
		r.slots <- struct{}{}
	}
	w := httptest.NewRecorder()
	r.ServeHTTP(w, request("POST", "/hook", "swordfish", "", "[]"))
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("status %d", w.Code)
	}
	bad := receiver(t, func(audit.TenantID, audit.ContentType) {})
	bad.cfg.AuthID = func() (string, error) { return "", errors.New("the file is gone") }
	w = httptest.NewRecorder()
	bad.ServeHTTP(w, request("POST", "/hook", "", "", "[]"))
	if w.Code != http.StatusUnauthorized {
		t.Errorf("without an auth id to compare with: status %d", w.Code)
	}
}

func TestServe(t *testing.T) {
	t.Parallel()
	hinted := make(chan audit.ContentType, 10)
	r := receiver(t, func(_ audit.TenantID, ct audit.ContentType) { hinted <- ct })
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Serve(ctx, l) }()
	body := "[" + notification(known, "Audit.Exchange", host) + "]"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+l.Addr().String()+"/hook", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Webhook-AuthID", "swordfish")
	resp, err := new(http.Client).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	select {
	case ct := <-hinted:
		if ct != audit.Exchange || resp.StatusCode != http.StatusOK {
			t.Errorf("hint for %s, status %d", ct, resp.StatusCode)
		}
	case <-time.After(30 * time.Second):
		t.Error("no hint")
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func FuzzNotification(f *testing.F) {
	f.Add("", []byte("["+notification(known, "Audit.General", host)+"]"))
	f.Add("code", []byte(`{"validationCode":"code"}`))
	f.Add("", []byte(`[{"tenantId":5}]`))
	r := receiver(f, func(audit.TenantID, audit.ContentType) {})
	f.Fuzz(func(t *testing.T, code string, body []byte) {
		w := httptest.NewRecorder()
		req := httptest.NewRequest(http.MethodPost, "/hook", strings.NewReader(string(body)))
		req.Header["Webhook-Authid"] = []string{"swordfish"}
		req.Header["Webhook-Validationcode"] = []string{code}
		r.ServeHTTP(w, req)
		if w.Code != 200 && w.Code != 400 && w.Code != 413 {
			t.Fatalf("status %d", w.Code)
		}
		for h := range r.hints {
			if h.tenant != known || h.ct.Source() == "" {
				t.Fatalf("hint for %v", h)
			}
		}
	})
}
