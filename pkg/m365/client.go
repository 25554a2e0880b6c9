package m365

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"millrace/pkg/audit"
)

const (
	maxListBody  = 16 << 20 // one page of a listing, decompressed
	maxPages     = 10_000   // of one window
	pageTries    = 3        // times that a page is read whose body is spoilt
	callTimeout  = 2 * time.Minute
	blobTimeout  = 15 * time.Minute
	timeOnWire   = "2006-01-02T15:04:05" // the form that the reference gives; without a zone it is UTC
	maxContentID = 1024
)

// DefaultMaxBlob bounds a content blob, decompressed.
const DefaultMaxBlob = 256 << 20

// Config says how a Client reaches the service.
type Config struct {
	Tenant    audit.TenantID
	API       string // scheme and host, see Cloud
	Publisher string // PublisherIdentifier, a GUID; "" = the tenant, which is right for an in-house client
	Bearer    Bearer
	Bucket    *Bucket           // shared by all that calls for the tenant; nil = one of its own with the default rate
	Transport http.RoundTripper // nil = NewTransport(nil)
	Metrics   *Metrics          // nil = not registered
	MaxBlob   int64             // 0 = DefaultMaxBlob
}

// Client calls the Management Activity API for one tenant. Safe for concurrent use.
type Client struct {
	c         *caller
	tenant    audit.TenantID
	root      string
	publisher string
	maxBlob   int64
}

// New makes a client; it does not call anything yet.
func New(cfg Config) (*Client, error) {
	if !audit.IsGUID(string(cfg.Tenant)) {
		return nil, fmt.Errorf("tenant %q is not a GUID", clean(string(cfg.Tenant), 64))
	}
	if cfg.Publisher == "" {
		cfg.Publisher = string(cfg.Tenant)
	}
	if !audit.IsGUID(cfg.Publisher) {
		return nil, fmt.Errorf("publisher %q is not a GUID: use the tenant id of the company that runs the client", clean(cfg.Publisher, 64))
	}
	if cfg.Bearer == nil {
		return nil, errors.New("no source of tokens")
	}
	if cfg.Bucket == nil {
		cfg.Bucket = NewBucket(0)
	}
	if cfg.MaxBlob <= 0 {
		cfg.MaxBlob = DefaultMaxBlob
	}
	c, err := newCaller(cfg.API, cfg.Bearer, cfg.Bucket, cfg.Transport, cfg.Metrics)
	if err != nil {
		return nil, err
	}
	root := strings.TrimRight(c.base.String(), "/") + "/api/v1.0/" + string(cfg.Tenant) + "/activity/feed"
	return &Client{c: c, tenant: cfg.Tenant, root: root, publisher: cfg.Publisher, maxBlob: cfg.MaxBlob}, nil
}

// Skew is how far the service's clock was ahead of this machine's at the last answer.
func (c *Client) Skew() time.Duration { return time.Duration(c.c.skew.Load()) }

// Host is the API's scheme and host.
func (c *Client) Host() string { return strings.TrimRight(c.c.base.String(), "/") }

// Webhook is the push address of a subscription.
type Webhook struct {
	Status     string `json:"status,omitempty"`
	Address    string `json:"address"`
	AuthID     string `json:"authId"`
	Expiration string `json:"expiration"`
}

// Subscription is the standing request for one content type.
type Subscription struct {
	ContentType audit.ContentType `json:"contentType"`
	Status      string            `json:"status"` // enabled or disabled; missing in one published sample
	Webhook     *Webhook          `json:"webhook"`
}

// Subscriptions lists the subscriptions of the calling application. Content types that were never started are not listed.
func (c *Client) Subscriptions(ctx context.Context) ([]Subscription, error) {
	var subs []Subscription
	err := c.getJSON(ctx, request{op: "list subscriptions", url: c.root + "/subscriptions/list?" + c.publish("")}, &subs)
	return subs, err
}

// Start starts a subscription, or changes the webhook of one that runs. That it is already on (AF20024) is success. At least 15
// minutes must lie between two starts of one content type.
func (c *Client) Start(ctx context.Context, ct audit.ContentType, hook *Webhook) error {
	r := request{op: "start subscription", method: http.MethodPost, url: c.root + "/subscriptions/start?" + c.publish("contentType="+url.QueryEscape(string(ct)))}
	if hook != nil {
		body, err := json.Marshal(map[string]*Webhook{"webhook": hook})
		if err != nil {
			return fmt.Errorf("%s: %w", r.op, err)
		}
		r.body = body
	}
	err := c.discard(ctx, r)
	if err != nil && ClassOf(err) == ClassAlreadyOn {
		return nil
	}
	return err
}

// Stop stops a subscription. What the service makes until the next start is lost for good: call it on an operator's command only.
func (c *Client) Stop(ctx context.Context, ct audit.ContentType) error {
	return c.discard(ctx, request{op: "stop subscription", method: http.MethodPost, url: c.root + "/subscriptions/stop?" + c.publish("contentType="+url.QueryEscape(string(ct)))})
}

// Content lists the blobs created in [start, end), at most 24 hours that begin at most 7 days ago, and calls page for each page. An
// error of page ends the listing. The window may be taken as read only if Content returns nil.
func (c *Client) Content(ctx context.Context, ct audit.ContentType, start, end time.Time, page func([]audit.Blob) error) error {
	return c.pages(ctx, "list content", c.window("content", ct, start, end), func(body []byte) error {
		blobs, err := parseListing(body, c.tenant, ct)
		if err != nil {
			return err
		}
		return page(blobs)
	})
}

// Notification is one attempt of the service to call a webhook.
type Notification struct {
	ContentID string `json:"contentId"`
	Sent      string `json:"notificationSent"`
	Status    string `json:"notificationStatus"`
}

// Notifications lists what the service pushed to the webhook, one entry an attempt. For finding faults only, never for finding content.
func (c *Client) Notifications(ctx context.Context, ct audit.ContentType, start, end time.Time, page func([]Notification) error) error {
	return c.pages(ctx, "list notifications", c.window("notifications", ct, start, end), func(body []byte) error {
		var ns []Notification
		if err := json.Unmarshal(body, &ns); err != nil {
			return fmt.Errorf("%w: %w", ErrBadAnswer, err)
		}
		return page(ns)
	})
}

// SensitiveType names a sensitive information type of DLP records.
type SensitiveType struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// SensitiveTypes lists the names of sensitive information types in one language, for example en-US.
func (c *Client) SensitiveTypes(ctx context.Context, language string) ([]SensitiveType, error) {
	var out []SensitiveType
	r := request{op: "list sensitive types", url: c.root + "/resources/dlpSensitiveTypes?" + c.publish("")}
	if language != "" {
		r.header = http.Header{"Accept-Language": {language}}
	}
	err := c.getJSON(ctx, r, &out)
	return out, err
}

// Turn waits until the tenant's rate allows one more call, which is then taken for the next call made with the returned context. Whoever
// needs something scarce for a call can so wait for the call's turn first.
func (c *Client) Turn(ctx context.Context) (context.Context, error) {
	waited, err := c.c.bucket.Wait(ctx)
	c.c.metrics.throttle.Add(waited.Seconds())
	return context.WithValue(ctx, turnKey{}, &turn{}), err
}

// Fetch downloads a blob and writes its decompressed bytes to w. Only with a nil error is what w holds the whole answer.
func (c *Client) Fetch(ctx context.Context, b audit.Blob, w io.Writer) (int64, error) {
	const op = "fetch blob"
	u, err := c.c.link(b.URI)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", op, err)
	}
	u.RawQuery = c.publish(u.RawQuery)
	ctx, cancel := context.WithTimeout(ctx, blobTimeout)
	defer cancel()
	resp, err := c.c.do(ctx, request{op: op, method: http.MethodGet, url: u.String()}) //nolint:bodyclose // copyBody closes it
	if err != nil {
		return 0, err
	}
	n, err := c.c.copyBody(resp, w, c.maxBlob)
	if err != nil {
		return n, fmt.Errorf("%s: %w", op, err)
	}
	return n, nil
}

// publish adds the PublisherIdentifier to a query that does not have it: the service's own links never do.
func (c *Client) publish(query string) string {
	if strings.Contains(strings.ToLower("&"+query), "&publisheridentifier=") {
		return query
	}
	if query != "" {
		query += "&"
	}
	return query + "PublisherIdentifier=" + c.publisher
}

func (c *Client) window(resource string, ct audit.ContentType, start, end time.Time) string {
	return c.root + "/subscriptions/" + resource + "?" + c.publish("contentType="+url.QueryEscape(string(ct))+
		"&startTime="+start.UTC().Format(timeOnWire)+"&endTime="+end.UTC().Format(timeOnWire))
}

// pages follows a listing from its first address to its last page.
func (c *Client) pages(ctx context.Context, op, address string, page func(body []byte) error) error {
	seen := make(map[[sha256.Size]byte]bool) // not the links themselves: each may be long
	for range maxPages {
		seen[sha256.Sum256([]byte(address))] = true
		next, err := c.wholePage(ctx, op, address, page)
		if err != nil {
			return err
		}
		if next == "" {
			return nil
		}
		u, err := c.c.link(next)
		if err != nil {
			return fmt.Errorf("%s: %w", op, err)
		}
		u.RawQuery = c.publish(u.RawQuery)
		if address = u.String(); seen[sha256.Sum256([]byte(address))] {
			return fmt.Errorf("%s: %w: a page links to one before it", op, ErrBadAnswer)
		}
	}
	return fmt.Errorf("%s: %w: more than %d pages", op, ErrBadAnswer, maxPages)
}

// wholePage reads a page and hands it on. A spoilt one is read again in place: a listing of many pages would hardly ever come to its
// end if each such page made it begin anew.
func (c *Client) wholePage(ctx context.Context, op, address string, page func(body []byte) error) (next string, err error) {
	for try := range pageTries {
		var body []byte
		if err = sleep(ctx, backoff(0, 0, try, nil)*time.Duration(min(try, 1))); err != nil {
			return "", err
		}
		if body, next, err = c.page(ctx, op, address); err == nil {
			if err = page(body); err == nil {
				return next, nil
			}
			err = fmt.Errorf("%s: %w", op, err)
		}
		if !errors.Is(err, errCut) && !errors.Is(err, ErrBadAnswer) {
			break
		}
	}
	return "", err
}

func (c *Client) page(ctx context.Context, op, address string) (body []byte, next string, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := c.c.do(ctx, request{op: op, method: http.MethodGet, url: address}) //nolint:bodyclose // readBody closes it
	if err != nil {
		return nil, "", err
	}
	if body, err = c.c.readBody(resp, maxListBody); err != nil {
		return nil, "", fmt.Errorf("%s: %w", op, err)
	}
	if next = resp.Header.Get("NextPageUri"); next == "" {
		next = resp.Header.Get("NextPageUrl") // as the FAQ calls it
	}
	return body, next, nil
}

func (c *Client) getJSON(ctx context.Context, r request, into any) error {
	r.method = http.MethodGet
	return c.c.getJSON(ctx, r, into)
}

func (c *caller) getJSON(ctx context.Context, r request, into any) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := c.do(ctx, r) //nolint:bodyclose // readBody closes it
	if err != nil {
		return err
	}
	body, err := c.readBody(resp, maxListBody)
	if err != nil {
		return fmt.Errorf("%s: %w", r.op, err)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("%s: %w: %w", r.op, ErrBadAnswer, err)
	}
	return nil
}

func (c *Client) discard(ctx context.Context, r request) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := c.c.do(ctx, r) //nolint:bodyclose // copyBody closes it
	if err != nil {
		return err
	}
	if _, err := c.c.copyBody(resp, io.Discard, maxListBody); err != nil {
		return fmt.Errorf("%s: %w", r.op, err)
	}
	return nil
}

// parseListing reads one page of a content listing. An entry that is no descriptor makes the page unusable: passing over it could
// be a loss.
func parseListing(body []byte, tenant audit.TenantID, ct audit.ContentType) ([]audit.Blob, error) {
	var entries []struct {
		URI        string `json:"contentUri"`
		ID         string `json:"contentId"`
		Created    string `json:"contentCreated"`
		Expiration string `json:"contentExpiration"`
	}
	if err := json.Unmarshal(body, &entries); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadAnswer, err)
	}
	blobs := make([]audit.Blob, 0, len(entries))
	for i, e := range entries {
		created, err := parseTime(e.Created)
		if err != nil || e.ID == "" || len(e.ID) > maxContentID || e.URI == "" {
			return nil, fmt.Errorf("%w: entry %d has no usable id, address or creation time", ErrBadAnswer, i)
		}
		expiration, err := parseTime(e.Expiration)
		if err != nil {
			expiration = created.Add(7 * 24 * time.Hour)
		}
		blobs = append(blobs, audit.Blob{Tenant: tenant, ContentType: ct, ContentID: e.ID, URI: e.URI, Created: created, Expiration: expiration})
	}
	return blobs, nil
}

// parseTime reads the times of the API's envelopes, with or without zone and fraction.
func parseTime(s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		t, err = time.Parse("2006-01-02T15:04:05.999999999", s)
	}
	if err == nil && (t.Year() < 2000 || t.Year() > 2200) {
		err = fmt.Errorf("year %d is out of range", t.Year())
	}
	return t.UTC(), err
}
