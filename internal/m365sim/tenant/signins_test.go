package tenant

import (
	"encoding/json"
	"testing"
	"time"
)

// TestSignInsMatchTheFeed finds every sign-in of the directory's log in the audit feed, under the ids that link the two.
func TestSignInsMatchTheFeed(t *testing.T) {
	t.Parallel()
	tn, err := New(Config{Seed: 8, Records: 5000, Origin: origin})
	if err != nil {
		t.Fatal(err)
	}
	type record struct {
		RecordType      int
		IntraSystemID   string `json:"IntraSystemId"`
		InterSystemsID  string `json:"InterSystemsId"`
		UserID          string `json:"UserId"`
		ActorIPAddress  string `json:"ActorIpAddress"`
		ApplicationID   string `json:"ApplicationId"`
		ErrorNumber     string
		AzureADEventTyp int `json:"AzureActiveDirectoryEventType"`
	}
	feed := map[string]record{}
	for _, raw := range readWeek(t, tn) {
		var r record
		if err := json.Unmarshal([]byte(raw.raw), &r); err == nil && r.RecordType == 15 && r.ErrorNumber != "" {
			feed[r.IntraSystemID] = r
		}
	}
	last, n := origin.Add(time.Hour), 0
	for in := range tn.SignIns(origin.Add(-8*24*time.Hour), origin) {
		n++
		if in.At.After(last) {
			t.Fatalf("sign-in of %s after one of %s", in.At, last)
		}
		last = in.At
		r, ok := feed[in.ID]
		if !ok || r.InterSystemsID != in.CorrelationID || r.UserID != in.User.UPN || r.ActorIPAddress != in.IP || r.ApplicationID != in.AppID || (r.ErrorNumber == "0") != (in.ErrorCode == 0) {
			t.Fatalf("%+v is %+v in the feed", in, r)
		}
	}
	if n < 100 || n != len(feed) {
		t.Errorf("%d sign-ins, %d in the feed", n, len(feed))
	}
	live := 0
	for range tn.SignIns(origin, origin.Add(time.Hour)) {
		live++
	}
	if live == 0 {
		t.Error("nobody signs in after the origin")
	}
	for in := range tn.SignIns(origin.Add(-30*24*time.Hour), origin.Add(-20*24*time.Hour)) {
		t.Errorf("a sign-in before the week: %+v", in)
	}
}
