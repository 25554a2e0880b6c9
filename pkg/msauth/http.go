package msauth

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// maxAnswer bounds what a sign-in service may answer: MSAL reads all there is.
const maxAnswer = 1 << 20

// bounded is a client that reads no more than maxAnswer of an answer, follows no redirect and sends credentials to the authority only. A
// managed identity is asked without a proxy: its address is the machine's own.
func bounded(cfg Config) *http.Client {
	out := http.Client{Timeout: 30 * time.Second}
	if cfg.HTTP != nil {
		out = *cfg.HTTP
	} else if cfg.ManagedIdentity {
		out.Transport = &http.Transport{DisableKeepAlives: true}
	}
	if out.Transport == nil {
		out.Transport = http.DefaultTransport
	}
	g := guard{next: out.Transport}
	if at, err := url.Parse(cfg.Authority); err == nil && !cfg.ManagedIdentity {
		g.authority = at
	}
	out.Transport = g
	out.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &out
}

// guard bounds answers, and keeps what is sent from other hosts than the authority: where it is to be sent is what the service says.
type guard struct {
	next      http.RoundTripper
	authority *url.URL // nil = a managed identity, of which nothing is sent
}

var errElsewhere = errors.New("the sign-in service names a host that is not configured")

// RoundTrip implements http.RoundTripper.
func (g guard) RoundTrip(r *http.Request) (*http.Response, error) {
	if g.authority != nil && r.Method != http.MethodGet && !sameService(r.URL, g.authority) {
		return nil, errElsewhere
	}
	resp, err := g.next.RoundTrip(r)
	if err == nil {
		resp.Body = &limitedBody{ReadCloser: resp.Body, left: maxAnswer}
	}
	return resp, err
}

// aliases are the names that the sign-in service of each of Microsoft's clouds goes by.
func aliases() [][]string {
	return [][]string{
		{"login.microsoftonline.com", "login.windows.net", "login.microsoft.com", "sts.windows.net"},
		{"login.microsoftonline.us", "login.usgovcloudapi.net"},
		{"login.partner.microsoftonline.cn", "login.chinacloudapi.cn"},
	}
}

// sameService reports whether an address is the authority's.
func sameService(u, authority *url.URL) bool {
	if u.Scheme != "https" || u.User != nil {
		return false
	}
	a, b := strings.TrimSuffix(strings.ToLower(u.Host), ":443"), strings.TrimSuffix(strings.ToLower(authority.Host), ":443")
	return a == b || slices.ContainsFunc(aliases(), func(names []string) bool { return slices.Contains(names, a) && slices.Contains(names, b) })
}

type limitedBody struct {
	io.ReadCloser
	left int64
}

var errLongAnswer = errors.New("the answer of the sign-in service is too long")

func (b *limitedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errLongAnswer
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}
