package m365sim

import (
	"hash/fnv"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"millrace/internal/m365sim/tenant"
)

// Rules on the window of a listing.
const (
	windowMax   = 24 * time.Hour
	windowOld   = 7 * 24 * time.Hour
	windowSlack = time.Hour // how much older than the rule the real service was seen to accept
)

// window is the half-open stretch of creation times that a listing is about.
type window struct{ start, end time.Time }

// windowOf reads startTime and endTime. Without them the window is the last 24 hours.
func (s *Server) windowOf(c *call) (window, error) {
	from, to := c.query["starttime"], c.query["endtime"]
	if from == "" && to == "" {
		return window{start: c.now.Add(-windowMax), end: c.now}, nil
	}
	if from == "" || to == "" {
		return window{}, s.badWindow(errWindow())
	}
	start, ok := parseTime(from)
	if !ok {
		return window{}, errType("startTime", "datetime")
	}
	end, ok := parseTime(to)
	if !ok {
		return window{}, errType("endTime", "datetime")
	}
	switch {
	case !start.Before(end):
		return window{}, s.badWindow(errWindow())
	case end.Sub(start) > windowMax && !s.cfg.TolerantWindows:
		return window{}, s.badWindow(errWindow())
	case c.now.Sub(start) > windowOld+windowSlack:
		return window{}, s.badWindow(errOldWindow())
	case end.Sub(start) > windowMax:
		end = start.Add(windowMax) // tolerated, but the answer is not the whole of it
	}
	return window{start: start, end: end}, nil
}

func (s *Server) badWindow(e *feedError) error {
	s.books.improper("window rule broken")
	return e
}

// parseTime reads the documented forms and those seen in the field: with a trailing Z and with fractions.
func parseTime(text string) (time.Time, bool) {
	for _, layout := range []string{"2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02"} {
		if t, err := time.Parse(layout, strings.TrimSuffix(text, "Z")); err == nil {
			return t.UTC(), true
		}
	}
	return time.Time{}, false
}

func (s *Server) listContent(c *call) (*reply, error) { return s.list(c, "content", false) }

// listNotifications lists what was sent to the webhook. It is a listing of content with two more members, one entry an attempt.
func (s *Server) listNotifications(c *call) (*reply, error) { return s.list(c, "notifications", true) }

func (s *Server) list(c *call, operation string, notifications bool) (*reply, error) {
	ct, err := c.contentType()
	if err != nil {
		return nil, err
	}
	sub, err := s.subscription(c, ct)
	if err != nil {
		return nil, err
	}
	win, err := s.windowOf(c)
	if err != nil {
		return nil, err
	}
	var after string
	if marker := c.query["nextpage"]; marker != "" {
		if after, err = readMarker(marker, win); err != nil {
			return nil, err
		}
	}
	body, next := s.page(c, ct, sub, win, after, notifications)
	out := &reply{body: body}
	if next != "" {
		out.header = http.Header{"NextPageUri": []string{nextPage(c, operation, ct, win, next)}}
	}
	return out, nil
}

// page renders one page of a listing: the blobs after a marker, and the marker of the next page if there is one.
func (s *Server) page(c *call, ct string, sub subscription, win window, after string, notifications bool) (body []byte, next string) {
	from := win.start
	skipping := after != ""
	if skipping {
		from = createdOfMarker(after)
	}
	body = append(make([]byte, 0, 32<<10), '[')
	n, last := 0, ""
	for d := range c.tenant.Each(ct, from, win.end, c.now) {
		id := pageMark(d.ContentID)
		if skipping {
			if id != after {
				continue
			}
			skipping = false
			if !listedTwice(after, s.cfg.PageSize) {
				continue
			}
		}
		if d.Created.Before(win.start) || !sub.sees(d.Created) || c.now.Sub(sub.since) < s.cfg.FirstContentDelay || !c.now.Before(d.Expiration) {
			continue
		}
		deliveries := 1
		if notifications {
			deliveries = s.hooks.attempts(c.key(ct), d.ContentID)
		}
		if deliveries == 0 {
			continue
		}
		if n == s.cfg.PageSize {
			next = last
			break
		}
		for range deliveries {
			body = appendDescriptor(body, c, d, notifications)
		}
		s.book(event{Kind: eventListed, At: c.now, Tenant: c.id, ContentType: ct, ContentID: d.ContentID})
		n, last = n+1, id
	}
	if len(body) > 1 {
		body = body[:len(body)-1]
	}
	return append(body, ']'), next
}

func appendDescriptor(b []byte, c *call, d tenant.Descriptor, notification bool) []byte {
	b = append(b, `{"contentUri":"`...)
	b = append(b, contentURI(c, d)...)
	b = append(b, `","contentId":"`...)
	b = append(b, d.ContentID...)
	b = append(b, `","contentType":"`...)
	b = append(b, d.ContentType...)
	b = append(b, `","contentCreated":"`...)
	b = d.Created.AppendFormat(b, envelopeTime)
	b = append(b, `","contentExpiration":"`...)
	b = d.Expiration.AppendFormat(b, envelopeTime)
	if notification {
		b = append(b, `","notificationSent":"`...)
		b = d.Created.Add(time.Minute).AppendFormat(b, envelopeTime)
		b = append(b, `","notificationStatus":"success`...)
	}
	return append(b, `"},`...)
}

func feedRoot(c *call) string { return base(c.r) + "/api/v1.0/" + c.id + "/activity/feed" }

func contentURI(c *call, d tenant.Descriptor) string { return feedRoot(c) + "/audit/" + d.ContentID }

// A page marker names the last blob of the page by the two instants at the front of its content id, as the real one seems to.
const markLen = 47

func pageMark(contentID string) string { return contentID[:markLen] }

const linkTime = "2006-01-02T15:04:05.0000000Z"

func nextPage(c *call, operation, ct string, win window, mark string) string {
	return feedRoot(c) + "/subscriptions/" + operation + "?contenttype=" + ct + "&starttime=" + win.start.Format(linkTime) + "&endtime=" + win.end.Format(linkTime) + "&nextpage=" + mark + "$emea0029"
}

func readMarker(marker string, win window) (string, error) {
	mark, ok := strings.CutSuffix(marker, "$emea0029")
	if !ok || len(mark) != markLen || mark[23] != '$' {
		return "", errNextPage(printable(marker))
	}
	for i, c := range mark {
		if i != 23 && (c < '0' || c > '9') {
			return "", errNextPage(printable(marker))
		}
	}
	if at := createdOfMarker(mark); at.Before(win.start) || !at.Before(win.end) {
		return "", errNextPage(printable(marker))
	}
	return mark, nil
}

// createdOfMarker reads the creation time of the blob that a marker names; the zero time if it is none.
func createdOfMarker(mark string) time.Time {
	at, err := time.Parse("20060102150405.000", mark[24:38]+"."+mark[38:41])
	if err != nil {
		return time.Time{}
	}
	return at
}

// listedTwice decides whether the last blob of a page comes again as the first one of the next: one border in ten.
func listedTwice(mark string, pageSize int) bool {
	h := fnv.New32a()
	_, _ = h.Write([]byte(mark)) // a hash never fails
	return pageSize > 1 && h.Sum32()%10 == 0
}

var blobPool = sync.Pool{New: func() any { return new(tenant.Buffer) }}

func (s *Server) getBlob(c *call) (*reply, error) {
	id := c.r.PathValue("id")
	if !wellFormedID(id) {
		return nil, errContentID(printable(id))
	}
	d, ok := c.tenant.Find(id, c.now)
	if !ok {
		return nil, errNoContent(printable(id))
	}
	if d.ContentType == tenant.DLP && !c.claims.hasRole("ActivityFeed.ReadDlp") {
		return nil, errPermission(strings.Join(c.claims.Roles, " "), "ActivityFeed.ReadDlp")
	}
	sub, err := s.subscription(c, d.ContentType)
	if err != nil {
		return nil, err
	}
	if !sub.sees(d.Created) {
		return nil, errNoContent(id)
	}
	if !c.now.Before(d.Expiration) {
		return nil, errExpired(id)
	}
	buf := blobPool.Get().(*tenant.Buffer)
	c.tenant.Render(buf, d)
	size, records := len(buf.Bytes()), buf.Len()
	done := func(sent bool) {
		blobPool.Put(buf)
		if sent {
			s.book(event{Kind: eventServed, At: c.now, Tenant: c.id, App: c.app, ContentType: d.ContentType, ContentID: d.ContentID, Records: records, Bytes: size})
		}
	}
	return &reply{body: buf.Bytes(), done: done}, nil
}

// wellFormedID tells a content id that cannot be one from one that merely names nothing.
func wellFormedID(id string) bool {
	if len(id) < markLen || len(id) > 200 || strings.Count(id, "$") < 3 {
		return false
	}
	_, err := strconv.ParseUint(id[:17], 10, 64)
	return err == nil
}
