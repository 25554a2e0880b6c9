package m365sim

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"testing"
	"time"

	"millrace/internal/m365sim/tenant"
)

// TestEverythingFailsSometimes has all faults hit at 5 % and shows that a client that tries again gets the whole week.
func TestEverythingFailsSometimes(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *Config) { c.AlwaysSubscribed, c.Quota, c.PageSize = true, -1, 10 })
	var faults []Fault
	for _, name := range FaultNames() {
		faults = append(faults, Fault{Name: name, Rate: 0.05})
	}
	if err := r.s.SetFaults(faults...); err != nil {
		t.Fatal(err)
	}
	// again repeats a request until its answer is whole.
	again := func(address string, into any) http.Header {
		t.Helper()
		for range 200 {
			a, err := r.try(http.MethodGet, address)
			if err == nil && a.status == http.StatusOK && json.Unmarshal(a.body, into) == nil {
				return a.header
			}
			if a.status == http.StatusUnauthorized {
				if token, ok := r.tryToken(); ok {
					r.token = token
				}
			}
		}
		t.Fatalf("%s failed 200 times", address)
		return nil
	}
	for _, ct := range tenant.ContentTypes() {
		for d := range 7 {
			from := testOrigin.Add(-time.Duration(7-d) * day)
			next := fmt.Sprintf("%s/subscriptions/content?contentType=%s&startTime=%s&endTime=%s", r.root, ct, from.Format(linkTime), from.Add(day).Format(linkTime))
			for next != "" {
				var page []descriptor
				h := again(next, &page)
				for _, b := range page {
					var records []json.RawMessage
					again(b.ContentURI, &records)
				}
				next = h.Get("NextPageUri")
			}
		}
	}
	l := r.s.Ledger()
	for _, row := range l.Tenants[0].Content {
		if row.BlobsServed != row.Blobs {
			t.Errorf("%+v", row)
		}
	}
	for _, name := range FaultNames() {
		if l.Faults[name] == 0 {
			t.Errorf("%s never hit", name)
		}
	}
}

func (r *rig) tryToken() (string, bool) {
	resp, err := r.client.PostForm(r.s.URL()+"/"+r.id+"/oauth2/v2.0/token", url.Values{
		"grant_type": {"client_credentials"}, "client_id": {DefaultClientID}, "client_secret": {DefaultClientSecret}, "scope": {"https://manage.office.com/.default"},
	})
	if err != nil {
		return "", false
	}
	defer resp.Body.Close()
	var out struct {
		Token string `json:"access_token"`
	}
	err = json.NewDecoder(resp.Body).Decode(&out)
	return out.Token, err == nil && out.Token != ""
}
