package m365

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// Graph calls Microsoft Graph for one tenant under the same rules as Client: token to the configured host only, bounded answers. Its
// path may be relative ("/v1.0/users/delta?$top=999") or a link that Graph sent.
type Graph struct{ c *caller }

// NewGraph makes a Graph client for the host (see Cloud). The bucket should be one of its own: Graph's quotas are not the feed's.
func NewGraph(host string, bearer Bearer, bucket *Bucket, rt http.RoundTripper, m *Metrics) (*Graph, error) {
	if bearer == nil {
		return nil, errors.New("no source of tokens")
	}
	if bucket == nil {
		bucket = NewBucket(0)
	}
	c, err := newCaller(host, bearer, bucket, rt, m)
	if err != nil {
		return nil, err
	}
	return &Graph{c: c}, nil
}

// Get reads the JSON answer of a path or link into a value. op names the call in errors and metrics.
func (g *Graph) Get(ctx context.Context, op, address string, into any) error {
	if strings.HasPrefix(address, "/") && !strings.HasPrefix(address, "//") {
		address = strings.TrimRight(g.c.base.String(), "/") + address
	}
	u, err := g.c.link(address)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	u.RawQuery = strings.ReplaceAll(u.RawQuery, " ", "%20")
	return g.c.getJSON(ctx, request{op: op, method: http.MethodGet, url: u.String()}, into)
}

// Escape makes a text safe as one segment of a Graph path.
func Escape(segment string) string { return url.PathEscape(segment) }
