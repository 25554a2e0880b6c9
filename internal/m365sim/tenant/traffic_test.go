package tenant

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
)

type parsed struct {
	ID           string `json:"Id"`
	CreationTime string
	Operation    string
	Workload     string
	RecordType   int
	UserID       string `json:"UserId"`
	raw          string
}

// readWeek parses every record of a tenant's week.
func readWeek(t *testing.T, tn *Tenant) []parsed {
	t.Helper()
	var out []parsed
	err := tn.Blobs(t.Context(), time.Time{}, func(b Blob) error {
		for _, raw := range b.Records {
			var p parsed
			if err := json.Unmarshal(raw, &p); err != nil {
				t.Fatalf("%v in %s", err, raw)
			}
			p.raw = string(raw)
			out = append(out, p)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestTraffic(t *testing.T) {
	t.Parallel()
	tn, err := New(Config{Seed: 3, Records: 25_000, Origin: origin})
	if err != nil {
		t.Fatal(err)
	}
	records := readWeek(t, tn)
	t.Run("no member comes twice", func(t *testing.T) {
		for i := 0; i < len(records); i += 5 {
			r := records[i]
			if name := repeatedMember(t, json.NewDecoder(strings.NewReader(r.raw))); name != "" {
				t.Fatalf("%s comes twice in %s", name, r.raw)
			}
		}
	})
	t.Run("people work everywhere", func(t *testing.T) {
		where := map[string]map[string]bool{}
		for _, r := range records {
			if where[r.UserID] == nil {
				where[r.UserID] = map[string]bool{}
			}
			where[r.UserID][r.Workload] = true
		}
		everywhere := 0
		for _, w := range where {
			if w["AzureActiveDirectory"] && w["Exchange"] && w["OneDrive"] && w["MicrosoftTeams"] && w["PowerBI"] {
				everywhere++
			}
		}
		if everywhere < 10 {
			t.Errorf("%d users have records of five workloads", everywhere)
		}
	})
	// Each is an oddity of the real feed (API reference, section 12).
	oddities := map[string]string{
		"address with port":         `"ClientIP":"203.0.113.`,
		"v6 address with port":      `"ClientIP":"[2001:db8::1]:52211"`,
		"mapped address":            `"ClientIP":"::ffff:203.0.113.`,
		"Copilot's address":         `"ClientIP":"ffff:10.11.0.`,
		"null address":              `"ClientIP":null`,
		"two addresses":             `"ClientIPAddress":"`,
		"boolean as text":           `"ExternalAccess":"False"`,
		"boolean":                   `"ExternalAccess":false`,
		"list type as number":       `"ListBaseType":1`,
		"list type as text":         `"ListBaseType":"DocumentLibrary"`,
		"size as text":              `"FileSize":"18230"`,
		"key and value":             `"ExtraProperties":[{"Key":`,
		"JSON in a string":          `"ActivityParameters":"{\"ResponseId\"`,
		"JSON in strings of a list": `"Actions":["{\"ActionId\"`,
		"XML in a string":           `"EventData":"<`,
		"IntraSystemId":             `"IntraSystemId":`,
		"error as text":             `"ErrorNumber":"50126"`,
		"CR LF in a server name":    `\r\n","`,
		"guest":                     `"UserId":"urn:spo:guest#`,
		"app":                       `"UserId":"app@sharepoint"`,
		"SharePoint's own account":  `"UserId":"SHAREPOINT\\system"`,
		"Windows account":           `"UserId":"NT AUTHORITY\\SYSTEM`,
		"service principal":         `"UserId":"ServicePrincipal_`,
		"nobody":                    `"UserId":"Not Available"`,
		"empty user":                `"UserId":""`,
		"operation with a period":   `"Operation":"Update user."`,
		"operation with a dash":     `"Operation":"Update application – Certificates and secrets management "`,
		"DlpRuleMatch":              `"Operation":"DlpRuleMatch"`,
		"DLPRuleMatch":              `"Operation":"DLPRuleMatch"`,
		"blank in a name":           `"Data State":`,
		"address as device name":    `"DeviceDisplayName":"`,
		"escaped letter":            `f\u00fcr`,
		"letter":                    `Änderung`,
		"surrogate pair":            `\ud83d\ude80`,
		"huge number":               `12345678901234567890`,
		"unknown workload":          `"Workload":"BrandNewService"`,
		"unknown record type":       `"RecordType":10077`,
		"bad time":                  `"CreationTime":"not a time"`,
	}
	all := make([]string, len(records))
	for i, r := range records {
		all[i] = r.raw
	}
	for name, want := range oddities {
		if !slices.ContainsFunc(all, func(raw string) bool { return strings.Contains(raw, want) }) {
			t.Errorf("%s: no record has %s", name, want)
		}
	}
	t.Run("attacks are there and told", func(t *testing.T) {
		byID := map[string]parsed{}
		for _, r := range records {
			byID[r.ID] = r
		}
		attacks := tn.Attacks()
		if len(attacks) != 4 {
			t.Errorf("%d attacks", len(attacks))
		}
		for _, a := range attacks {
			for _, id := range a.Records {
				if r, ok := byID[id]; !ok || !strings.Contains(r.raw, a.IP) && r.RecordType == 15 {
					t.Errorf("%s: record %s is not there or not from %s: %s", a.Name, id, a.IP, r.raw)
				}
			}
			if len(a.Records) < 10 {
				t.Errorf("%s has %d records", a.Name, len(a.Records))
			}
		}
	})
}

// TestEveryRecordTypeOccurs plans a large week and renders none of it.
func TestEveryRecordTypeOccurs(t *testing.T) {
	t.Parallel()
	tn, err := New(Config{Seed: 3, Size: Large, Origin: origin})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[int]bool{}
	var specs []spec
	for i := range tn.weekSlots() {
		specs = tn.plan(i, specs[:0])
		for k := range specs {
			switch s := &specs[k]; s.kind {
			case kindRare, kindRareEntra, kindRareExchange, kindRareSharePoint, kindRareDLP:
				seen[tn.rareType(kinds[s.kind].typ, s).number] = true
			}
		}
	}
	for typ := range tn.words.types {
		for _, rt := range tn.words.types[typ] {
			if !seen[rt.number] {
				t.Errorf("record type %d does not occur", rt.number)
			}
		}
	}
}

// TestRepeats asserts how the feed repeats itself: the same bytes, the same members in another order, and seldom another content.
func TestRepeats(t *testing.T) {
	t.Parallel()
	tn, err := New(Config{Seed: 5, Records: 15_000, Origin: origin})
	if err != nil {
		t.Fatal(err)
	}
	first := map[string]string{}
	same, turned, variant := 0, 0, 0
	for _, r := range readWeek(t, tn) {
		old, ok := first[r.ID]
		switch {
		case r.ID == "":
		case !ok:
			first[r.ID] = r.raw
		case old == r.raw:
			same++
		case len(old) == len(r.raw):
			turned++
			var a, b any
			if json.Unmarshal([]byte(old), &a) != nil || json.Unmarshal([]byte(r.raw), &b) != nil || !jsonEqual(a, b) {
				t.Errorf("%s and %s differ in more than order", old, r.raw)
			}
		default:
			variant++
		}
	}
	if same < 50 || turned < 10 || variant < 5 {
		t.Errorf("%d the same, %d turned, %d variants", same, turned, variant)
	}
}

func jsonEqual(a, b any) bool {
	x, err := json.Marshal(a)
	if err != nil {
		return false
	}
	y, err := json.Marshal(b)
	return err == nil && string(x) == string(y)
}

// TestLive asserts that the life after the origin follows from the seed, however it is asked for.
func TestLive(t *testing.T) {
	t.Parallel()
	cfg := Config{Seed: 5, Records: 1000, Origin: origin, LiveRate: 20}
	collect := func(steps ...time.Duration) map[string]int {
		tn, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]int{}
		for _, s := range steps {
			for _, ct := range ContentTypes() {
				for d := range tn.Each(ct, origin, origin.Add(s), origin.Add(s)) {
					out[d.ContentID] = d.Records
				}
			}
		}
		return out
	}
	atOnce, inSteps := collect(2*time.Hour), collect(time.Minute, 30*time.Minute, 2*time.Hour)
	if len(atOnce) == 0 || len(atOnce) != len(inSteps) {
		t.Fatalf("%d blobs at once, %d in steps", len(atOnce), len(inSteps))
	}
	for id, n := range atOnce {
		if inSteps[id] != n {
			t.Errorf("blob %s has %d records, in steps %d", id, n, inSteps[id])
		}
	}
	tn, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	bounded, until := 0, origin.Add(time.Hour)
	err = tn.Blobs(t.Context(), until, func(b Blob) error {
		if b.Created.After(origin) {
			bounded++
		}
		if !b.Created.Before(until) {
			t.Errorf("blob of %s is after the bound", b.Created)
		}
		return nil
	})
	if err != nil || bounded == 0 {
		t.Errorf("%d live blobs before the bound, %v", bounded, err)
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]Config{
		"no origin":        {},
		"negative records": {Origin: origin, Records: -1},
		"too many":         {Origin: origin, Records: 1 << 40},
		"few users":        {Origin: origin, Users: 3},
		"rate":             {Origin: origin, LiveRate: 1e9},
		"large record":     {Origin: origin, LargeRecord: -5},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	for _, records := range []int{1, 7, 100, 999} {
		tn, err := New(Config{Seed: 1, Records: records, Origin: origin})
		if err != nil {
			t.Fatal(err)
		}
		ids := map[string]bool{}
		n := 0
		for _, r := range readWeek(t, tn) {
			if r.ID == "" {
				n++
			}
			ids[r.ID] = true
		}
		if delete(ids, ""); len(ids)+n != records {
			t.Errorf("%d distinct records, want %d", len(ids)+n, records)
		}
	}
	tn, err := New(Config{Seed: 1, Records: 2000, Origin: origin, LargeRecord: 5 << 20})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(readWeek(t, tn), func(r parsed) bool { return len(r.raw) > 5<<20 }) {
		t.Error("there is no large record")
	}
}

// repeatedMember reads one JSON value and returns the name of a member that an object has twice, if there is one.
func repeatedMember(t *testing.T, dec *json.Decoder) string {
	t.Helper()
	tok, err := dec.Token()
	if err != nil {
		t.Fatal(err)
	}
	open, ok := tok.(json.Delim)
	if !ok {
		return ""
	}
	seen := map[string]bool{}
	for dec.More() {
		if open == '{' {
			key, err := dec.Token()
			if err != nil {
				t.Fatal(err)
			}
			name := key.(string)
			if seen[name] {
				return name
			}
			seen[name] = true
		}
		if name := repeatedMember(t, dec); name != "" {
			return name
		}
	}
	if _, err := dec.Token(); err != nil {
		t.Fatal(err)
	}
	return ""
}
