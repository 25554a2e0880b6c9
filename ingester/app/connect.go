package app

import (
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
	id        audit.TenantID
	hosts     m365.Hosts
	tokens    msauth.TokenSource
	transport *http.Transport
	feed      *m365.Client // nil with all the others = a paused tenant without a credential
	graph     *m365.Graph

	dlp     *gate  // of DLP.All, which needs a permission more
	consent string // where an administrator consents to the app's permissions
}

// transports are the pools of connections by the authorities that they trust: tenants with the same ones share a pool, or a thousand of them
// would keep thousands of idle connections.
type transports map[string]*http.Transport

// of gives the pool for a file of authorities; "" are the system's. The file's present content counts.
func (ts transports) of(path string) (*http.Transport, error) {
	var pem []byte
	if path != "" {
		var err error
		if pem, err = os.ReadFile(path); err != nil {
			return nil, fmt.Errorf("ca_file: %w", err)
		}
	}
	if shared, ok := ts[string(pem)]; ok {
		return shared, nil
	}
	var roots *x509.CertPool
	if path != "" {
		if roots = x509.NewCertPool(); !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca_file: %s holds no PEM certificate", path)
		}
	}
	ts[string(pem)] = m365.NewTransport(roots)
	return ts[string(pem)], nil
}

// close ends the connections that nobody uses any more.
func (ts transports) close() {
	for _, t := range ts {
		t.CloseIdleConnections()
	}
}

// connect makes the clients of a tenant. It calls nothing.
func (t Tenant) connect(limits Limits, metrics *m365.Metrics, pools transports) (*connection, error) {
	id, err := t.validate()
	if err != nil {
		return nil, err
	}
	c := &connection{id: id}
	if t.Paused && t.ClientID == "" && !t.ManagedIdentity {
		return c, nil
	}
	if c.hosts, err = t.hosts(); err != nil {
		return nil, err
	}
	pool, err := pools.of(t.CAFile)
	if err != nil {
		return nil, err
	}
	c.transport = pool
	auth := msauth.Config{
		Tenant: string(id), ClientID: t.ClientID, Authority: c.hosts.Authority,
		CertificateFile: t.CertificateFile, FederatedTokenFile: t.FederatedTokenFile, ManagedIdentity: t.ManagedIdentity,
		HTTP:                  &http.Client{Transport: pool, Timeout: 30 * time.Second, CheckRedirect: refuseRedirect},
		SkipInstanceDiscovery: t.Hosts.Authority != "",
	}
	if t.Secret.IsSet() {
		auth.ReadSecret = t.Secret.Reveal
	}
	if t.CertificateSecret.IsSet() {
		auth.ReadCertificatePassword = t.CertificateSecret.Reveal
	}
	if t.ManagedIdentity {
		auth.HTTP = nil // its address is this machine's own: no proxy, no authorities of ours
	}
	if c.tokens, err = msauth.New(auth); err != nil {
		return nil, err
	}
	c.consent = c.hosts.Authority + "/" + string(id) + "/adminconsent"
	feed := &gate{tokens: c.tokens, audience: c.hosts.API, wanted: []string{roleFeed}, consent: c.consent, now: time.Now}
	c.dlp = &gate{tokens: c.tokens, audience: c.hosts.API, wanted: []string{roleFeed, roleDLP}, consent: c.consent, now: time.Now}
	c.feed, err = m365.New(m365.Config{
		Tenant: id, API: c.hosts.API, Publisher: t.PublisherID, Bearer: feed.bearer,
		Bucket: m365.NewBucket(t.RequestsPerMinute), Transport: pool, Metrics: metrics, MaxBlob: int64(limits.MaxBlob),
	})
	if err != nil {
		return nil, err
	}
	graph := &gate{tokens: c.tokens, audience: c.hosts.Graph, now: time.Now} // one permission there covers others: Graph has to judge
	c.graph, err = m365.NewGraph(c.hosts.Graph, graph.bearer, m365.NewBucket(t.RequestsPerMinute), pool, metrics)
	return c, err
}

func refuseRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// source makes the streams' view of a tenant.
func (c *connection) source(t Tenant) (*source.Tenant, error) {
	if t.Paused {
		return &source.Tenant{ID: c.id, Paused: true}, nil
	}
	types, err := t.contentTypes()
	if err != nil {
		return nil, err
	}
	out := &source.Tenant{ID: c.id, Feed: c.feed, ContentTypes: types, Fetches: t.Fetches, Allowed: c.allowed}
	if t.has(componentDirectory) {
		out.Graph = c.graph
	}
	return out, nil
}
