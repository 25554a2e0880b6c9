package app

import (
	"context"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"time"

	"millrace/ingester/internal/source"
	"millrace/pkg/audit"
	"millrace/pkg/m365"
	"millrace/pkg/msauth"
)

// connection is everything that calls Microsoft for one tenant.
type connection struct {
	id     audit.TenantID
	hosts  m365.Hosts
	tokens msauth.TokenSource
	roots  *x509.CertPool
	feed   *m365.Client
	graph  *m365.Graph
}

// connect makes the clients of a tenant. It calls nothing.
func (t Tenant) connect(limits Limits, metrics *m365.Metrics) (*connection, error) {
	id, err := t.validate()
	if err != nil {
		return nil, err
	}
	c := &connection{id: id}
	if t.Paused && t.ClientID == "" {
		return c, nil
	}
	if c.hosts, err = t.hosts(); err != nil {
		return nil, err
	}
	roots, err := readRoots(t.CAFile)
	if err != nil {
		return nil, err
	}
	c.roots = roots
	transport := m365.NewTransport(roots)
	auth := msauth.Config{
		Tenant: string(id), ClientID: t.ClientID, Authority: c.hosts.Authority,
		CertificateFile: t.CertificateFile, FederatedTokenFile: t.FederatedTokenFile,
		HTTP:                  &http.Client{Transport: m365.NewTransport(roots), Timeout: 30 * time.Second, CheckRedirect: refuseRedirect},
		SkipInstanceDiscovery: t.Hosts.Authority != "",
	}
	if t.Secret.IsSet() {
		auth.ReadSecret = t.Secret.Reveal
	}
	if c.tokens, err = msauth.New(auth); err != nil {
		return nil, err
	}
	c.feed, err = m365.New(m365.Config{
		Tenant: id, API: c.hosts.API, Publisher: t.PublisherID, Bearer: bearer(c.tokens, c.hosts.API),
		Bucket: m365.NewBucket(t.RequestsPerMinute), Transport: transport, Metrics: metrics, MaxBlob: int64(limits.MaxBlob),
	})
	if err != nil {
		return nil, err
	}
	c.graph, err = m365.NewGraph(c.hosts.Graph, bearer(c.tokens, c.hosts.Graph), m365.NewBucket(t.RequestsPerMinute), transport, metrics)
	return c, err
}

func refuseRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// bearer gives the tokens of one audience to a client.
func bearer(tokens msauth.TokenSource, audience string) m365.Bearer {
	return func(ctx context.Context, refused string) (string, error) {
		if refused == "" {
			t, err := tokens.Token(ctx, audience)
			return t.Value, err
		}
		t, err := tokens.Renew(ctx, audience, refused)
		return t.Value, err
	}
}

// readRoots reads the authorities to trust; nil are the system's.
func readRoots(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil //nolint:nilnil // a nil pool means the system's, as in crypto/tls
	}
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("ca_file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("ca_file: %s holds no PEM certificate", path)
	}
	return pool, nil
}

// source makes the streams' view of a tenant.
func (c *connection) source(t Tenant) (*source.Tenant, error) {
	if t.Paused {
		return &source.Tenant{ID: c.id, Paused: true}, nil
	}
	types, err := t.contentTypes()
	if err != nil {
		return nil, err
	}
	out := &source.Tenant{ID: c.id, Feed: c.feed, ContentTypes: types, Fetches: t.Fetches}
	if t.has(componentDirectory) {
		out.Graph = c.graph
	}
	return out, nil
}
