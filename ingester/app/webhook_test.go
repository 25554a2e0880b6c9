package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"millrace/internal/conf"
	"millrace/internal/m365sim"
	"millrace/pkg/audit"
)

// freePort is an address of this machine that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// TestWebhookOfTheSimulator: the subscription is started with the webhook, the handshake passes, and a notification is taken for a hint.
func TestWebhookOfTheSimulator(t *testing.T) {
	t.Parallel()
	listen := freePort(t)
	to := &url.URL{Scheme: "http", Host: listen}
	proxy := httptest.NewTLSServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }})
	t.Cleanup(proxy.Close)
	pool := x509.NewCertPool()
	pool.AddCert(proxy.Certificate())
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}
	t.Cleanup(transport.CloseIdleConnections)
	w := newWorld(t, 300, func(c *m365sim.Config) {
		c.AlwaysSubscribed = false
		c.WebhookClient = &http.Client{Transport: transport, Timeout: 10 * time.Second}
	})
	w.cfg.Webhook = Webhook{Address: proxy.URL + "/feed", Listen: listen, AuthID: conf.SecretValue("swordfish-auth")}
	w.cfg.Tenants[0].Components, w.cfg.Tenants[0].ContentTypes = []string{"activities"}, []string{string(audit.General)}
	rt := w.runtime()
	a, err := New(t.Context(), w.cfg, rt)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	requests := func(outcome string) float64 {
		families, err := rt.Registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				if f.GetName() == "millrace_ingester_webhook_requests_total" && m.GetLabel()[0].GetValue() == outcome {
					return m.GetCounter().GetValue()
				}
			}
		}
		return 0
	}
	w.await("the handshake", func() bool { return requests("validation") > 0 })
	body := fmt.Sprintf(`[{"tenantId":%q,"contentType":"Audit.General","contentId":"x","contentUri":%q}]`, w.cfg.Tenants[0].ID, w.sim.URL()+"/api/v1.0/x")
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.cfg.Webhook.Address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Webhook-AuthID", "swordfish-auth")
	resp, err := transport.RoundTrip(req)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("notification: %v, %v", resp, err)
	}
	_ = resp.Body.Close()
	w.await("the hint", func() bool { return requests("hint") > 0 })
	if requests("refused")+requests("bad")+requests("foreign") > 0 {
		t.Error("something that was sent was not understood")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
