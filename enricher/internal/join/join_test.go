package join

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"millrace/enricher/internal/directory"
	"millrace/enricher/internal/network"
	"millrace/enricher/internal/network/mmdbtest"
	"millrace/enricher/internal/useragent"
	"millrace/internal/testkit"
	"millrace/pkg/audit"
	"millrace/pkg/ocsf"
	"millrace/schemas"
)

const (
	tenant  audit.TenantID = "00000000-aaaa-4000-8000-000000000001"
	unread  audit.TenantID = "00000000-aaaa-4000-8000-000000000002" // its directory was never read whole
	adaID                  = "00000000-0000-4000-8000-0000000000a1"
	benID                  = "00000000-0000-4000-8000-0000000000b2"
	guestID                = "00000000-0000-4000-8000-0000000000c3"
	mailApp                = "00000000-0000-4000-8000-0000000000d4"
)

// world is a small organization: Ada, an administrator synchronized from on premises; Ben, her manager, suspended; a guest.
func world(t testing.TB) *Lookups {
	t.Helper()
	d := directory.NewDraft()
	ada := &directory.User{
		ID: adaID, UserPrincipalName: "ada@example.org", Mail: "ada.l@example.org", DisplayName: "Ada \"L\" Example", Department: "Research", JobTitle: "Engineer",
		OfficeLocation: "7/42", ManagerID: benID, UserType: "Member", Enabled: directory.Yes, OnPremisesSync: directory.Yes, Roles: []string{"Exchange Administrator"},
	}
	ben := &directory.User{ID: benID, UserPrincipalName: "ben@example.org", DisplayName: "Ben", UserType: "Member", Enabled: directory.No, OnPremisesSync: directory.No}
	guest := &directory.User{ID: guestID, UserPrincipalName: "eve_partner.example#EXT#@example.onmicrosoft.example", Mail: "eve@partner.example", UserType: "Guest", Enabled: directory.Yes}
	for i, u := range []*directory.User{ada, ben, guest} {
		d.SetUser(tenant, fmt.Sprintf("0/%d", i), u.ID, u)
	}
	group := func(n int, name string, members ...string) {
		id := fmt.Sprintf("00000000-0000-4000-8000-0000000e%04d", n)
		d.SetGroup(tenant, "0/10", id, &directory.Group{ID: id, DisplayName: name, Type: "Unified", Members: members})
	}
	group(1, "Everyone", adaID, benID, guestID)
	group(2, "Crown jewels", adaID)
	d.SetApp(tenant, "0/11", "00000000-0000-4000-8000-0000000000d5", &directory.App{
		ID: "00000000-0000-4000-8000-0000000000d5", AppID: mailApp, DisplayName: "Mail tool", Publisher: "Example Tools", Verified: "Example Tools Ltd",
	})
	d.SetDomain(tenant, "0/12", "example.org", true)
	d.SetComplete(tenant, "0/13", true)
	d.SetUser(unread, "0/14", adaID, ada)

	custom := func(s string) []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix(s)} }
	ranges, err := network.NewTable([]network.Range{
		{Name: "head office", Prefixes: custom("203.0.113.0/25"), Category: network.Corporate, Tags: []string{"HQ"}, Organization: "Example Org", Location: network.Location{Country: "AT", City: "Graz"}},
		{Name: "inside", Prefixes: custom("10.0.0.0/8"), Category: network.Corporate, Location: network.Location{Country: "AT"}},
	}, []network.Feed{{Tag: "Tor exit nodes", Category: network.Risky, Prefixes: append(custom("203.0.113.5/32"), custom("203.0.113.200/32")...)}})
	if err != nil {
		t.Fatal(err)
	}
	return &Lookups{
		Directory: d.Publish(), Ranges: ranges, Agents: useragent.NewParser(useragent.DefaultMinimum()),
		Places: network.Databases{
			Location: database(t, "Test-City", map[string]any{"203.0.113.0/24": mmdbtest.Object("country", mmdbtest.Object("iso_code", "NL"),
				"city", mmdbtest.Object("names", mmdbtest.Object("en", "Utrecht")), "location", mmdbtest.Object("latitude", 52.09, "longitude", 5.12))}),
			Operator: database(t, "Test-ASN", map[string]any{"203.0.113.0/24": mmdbtest.Object("autonomous_system_number", uint32(64500), "autonomous_system_organization", "Example Networks")}),
		},
	}
}

func database(t testing.TB, kind string, networks map[string]any) *network.Database {
	t.Helper()
	db, err := network.OpenDatabase(mmdbtest.Build(t, kind, 1, networks))
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// TestGolden joins every event of testdata and compares the whole result. Each must be a valid OCSF event before and after.
func TestGolden(t *testing.T) {
	t.Parallel()
	inputs, err := filepath.Glob("testdata/*.in.json")
	if err != nil || len(inputs) == 0 {
		t.Fatalf("no inputs: %v", err)
	}
	j, lookups := NewJoiner(), world(t)
	for _, path := range inputs {
		event := readEvent(t, path)
		got, report, err := j.Join(nil, event, tenant, lookups)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		checkContains(t, event, got)
		if again, _, _ := NewJoiner().Join(nil, event, tenant, lookups); !bytes.Equal(got, again) {
			t.Errorf("%s: a fresh joiner gives other bytes", path)
		}
		var pretty bytes.Buffer
		if err := json.Indent(&pretty, got, "", "  "); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		fmt.Fprintf(&pretty, "\n\n")
		for _, s := range Sources() {
			fmt.Fprintf(&pretty, "%s: %s\n", s, report[s])
		}
		testkit.Golden(t, strings.TrimSuffix(path, ".in.json")+".golden", pretty.Bytes())
	}
}

func readEvent(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, data); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return compact.Bytes()
}

// checkContains fails unless got is original with members added: nothing changed, nothing taken away, lists only longer.
func checkContains(t testing.TB, original, got []byte) {
	t.Helper()
	if !utf8.Valid(got) || !json.Valid(got) {
		t.Fatalf("no valid JSON: %q", got)
	}
	checkBytes(t, original, got)
	var before, after any
	if err := errors.Join(json.Unmarshal(original, &before), json.Unmarshal(got, &after)); err != nil {
		t.Fatal(err)
	}
	if path, ok := contains("", before, after); !ok {
		t.Fatalf("%s was altered:\n%s\n%s", path, original, got)
	}
}

// checkBytes fails unless every byte of the original occurs in the result, in order.
func checkBytes(t testing.TB, original, got []byte) {
	t.Helper()
	for i, c := range original {
		at := bytes.IndexByte(got, c)
		if at < 0 {
			t.Fatalf("byte %d of the event is gone", i)
		}
		got = got[at+1:]
	}
}

func contains(path string, before, after any) (string, bool) {
	switch b := before.(type) {
	case map[string]any:
		a, ok := after.(map[string]any)
		if !ok {
			return path, false
		}
		for k, v := range b {
			if where, ok := contains(path+"."+k, v, a[k]); !ok {
				return where, false
			}
		}
		return path, true
	case []any:
		a, ok := after.([]any)
		if !ok || len(a) < len(b) {
			return path, false
		}
		for i, v := range b {
			if where, ok := contains(fmt.Sprintf("%s[%d]", path, i), v, a[i]); !ok {
				return where, false
			}
		}
		return path, len(a) == len(b) || path == ".enrichments"
	default:
		return path, reflect.DeepEqual(before, after)
	}
}

// TestValidOCSF holds the goldens' inputs and results, and the mapped samples of the reference where they are here, against the schema
// of OCSF and that of the topic.
func TestValidOCSF(t *testing.T) {
	t.Parallel()
	const samples = "../../../../shared/reference/ocsf/m365-samples.ocsf.ndjson"
	events := [][]byte{}
	inputs, _ := filepath.Glob("testdata/*.in.json")
	for _, path := range inputs {
		events = append(events, readEvent(t, path))
	}
	if data, err := os.ReadFile(samples); err == nil {
		events = append(events, bytes.Split(bytes.TrimSpace(data), []byte("\n"))...)
	} else {
		t.Logf("the reference's samples are not here; not joined: %v", err)
	}
	schema := topicSchema(t)
	j, lookups := NewJoiner(), world(t)
	for _, event := range events {
		joined, _, err := j.Join(nil, event, tenant, lookups)
		if err != nil {
			t.Fatal(err)
		}
		checkContains(t, event, joined)
		before, after := ocsf.Validate(event), ocsf.Validate(joined)
		if diff := cmp.Diff(before, after); diff != "" {
			t.Errorf("problems that came with the joins (-before +after):\n%s\n%s", diff, joined)
		}
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(joined))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(value); err != nil {
			t.Errorf("%v\n%s", err, joined)
		}
	}
}

func topicSchema(t testing.TB) *jsonschema.Schema {
	t.Helper()
	data, err := schemas.FS.ReadFile("enriched.v1.json")
	if err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("enriched.v1.json", value); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("enriched.v1.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func TestNotAnEvent(t *testing.T) {
	t.Parallel()
	j, lookups := NewJoiner(), world(t)
	for _, in := range []string{
		"", " ", "null", "[]", "7", `"text"`, "{}", "{", `{"class_uid":3002`, `{"class_uid":3002}}`, `{"class_uid":3002} x`, `{"class_uid":"3002"}`,
		`{"class_uid":3002,}`, `{"class_uid":3002,"a":"` + "\xff" + `"}`, `{"class_uid":3002,"actor":{"user":{"name":}}}`, "\x00", `{'class_uid':3002}`,
		`{"class_uid":3002,"a":` + strings.Repeat("[", 1<<20) + strings.Repeat("]", 1<<20) + "}",
	} {
		out, _, err := j.Join([]byte("kept"), []byte(in), tenant, lookups)
		if !errors.Is(err, ErrNotEvent) || string(out) != "kept" {
			t.Errorf("%.40q: got %q, %v", in, out, err)
		}
	}
}

// hostile events are valid JSON of odd shapes. Each is passed on with everything that it had.
var hostile = []string{
	`{"class_uid":3002}`,
	` { "class_uid" : 3002 , "actor" : { "user" : { } , "app_uid":7 } , "src_endpoint":{ } } ` + "\r\n\t",
	`{"class_uid":3002,"actor":[],"user":"ada","entity":7,"src_endpoint":null,"http_request":{"user_agent":{}},"file":[],"access_list":{},"enrichments":{}}`,
	`{"class_uid":3002,"enrichments":[]}`,
	`{"class_uid":3002,"enrichments":[ ],"user":{"name":"ada@example.org","uid":null,"account":null,"groups":7}}`,
	`{"class_uid":3002,"enrichments":[{"name":"a","value":"b","data":{}}]}`,
	`{"class_uid":3002,"user":{"name":"ada@example.org"},"user":{"name":"ben@example.org"}}`,
	`{"class_uid":3002,"actor":{"user":{"name":"ada@example.org"}},"actor":{}}`,
	`{"class_uid":3002,"user":{"n\u0061me":"\u0061da@example.org","domain":"\ud800"}}`,
	`{"class_uid":3002,"\u0061ctor":{"user":{"name":"a\"b\\c\u0000d@example.org"}}}`,
	`{"class_uid":3002,"src_endpoint":{"ip":"fe80::1%eth0"},"http_request":{"user_agent":"` + strings.Repeat("Chrome/1 ", 4000) + `"}}`,
	`{"class_uid":3002,"src_endpoint":{"ip":"::ffff:203.0.113.5"}}`,
	`{"class_uid":3002,"src_endpoint":{"ip":"203.0.113.5","location":null,"autonomous_system":{},"isp":"","type":"x"}}`,
	`{"class_uid":6006,"file":{"url":{"url_string":"https://%zz.sharepoint.com"}},"access_list":[1,null,"x@y.example",["z"]]}`,
	`{"class_uid":6006,"file":{"path":"https://a.sharepoint.example/Documents/` + strings.Repeat("x", 5000) + `"}}`,
}

func TestHostileEvents(t *testing.T) {
	t.Parallel()
	j, lookups := NewJoiner(), world(t)
	for _, in := range hostile {
		out, _, err := j.Join(nil, []byte(in), tenant, lookups)
		if err != nil {
			t.Errorf("%.80s: %v", in, err)
			continue
		}
		if !json.Valid(out) || !utf8.Valid(out) {
			t.Errorf("%.80s: no valid JSON: %s", in, out)
		}
		if !strings.Contains(in, `"user":{"name":"ada@example.org"},"user"`) && !strings.Contains(in, `},"actor":{}`) {
			checkContains(t, []byte(in), out)
		}
	}
}

func TestTenants(t *testing.T) {
	t.Parallel()
	j, lookups := NewJoiner(), world(t)
	event := []byte(`{"class_uid":3002,"metadata":{"tenant_uid":"` + string(tenant) + `"},"user":{"name":"ben@example.org"}}`)
	tests := []struct {
		tenant audit.TenantID
		want   Outcome
		state  string
	}{
		{tenant, Found, `"directory":"complete","directory_version":"0/13"`},
		{"", Found, `"directory":"complete","directory_version":"0/13"`}, // the event's own word where the stream says nothing
		{unread, Incomplete, `"directory":"incomplete","directory_version":"0/14"`},
		{"00000000-aaaa-4000-8000-000000000009", Incomplete, `"directory":"incomplete"`},
	}
	for _, tt := range tests {
		out, report, err := j.Join(nil, event, tt.tenant, lookups)
		if err != nil || report[Target] != tt.want || !bytes.Contains(out, []byte(tt.state)) {
			t.Errorf("%q: %v, %v, %s", tt.tenant, report[Target], err, out)
		}
	}
	out, report, err := j.Join(nil, event, tenant, &Lookups{})
	if err != nil || report[Target] != Incomplete || !bytes.Contains(out, []byte(`"directory":"incomplete"`)) {
		t.Errorf("without any lookup: %v, %v, %s", report, err, out)
	}
}

func TestExternal(t *testing.T) {
	t.Parallel()
	lookups := world(t)
	lookups.Domains = map[string]bool{"example.net": true}
	j := NewJoiner()
	for name, want := range map[string]string{
		`"name":"ada@example.org"`:                               "false",
		`"name":"EVE@partner.example"`:                           "true", // a guest, by mail
		`"name":"new@example.org"`:                               "false",
		`"name":"new@Example.NET"`:                               "false", // by configuration
		`"name":"new@partner.example"`:                           "true",
		`"name":"x_y.example#EXT#@example.org"`:                  "true",
		`"name":"urn:spo:guest#a@example.org"`:                   "true",
		`"name":"SHAREPOINT\\system"`:                            "",
		`"name":"somebody","domain":"example.org"`:               "false",
		`"name":"somebody","email_addr":"b@elsewhere.example"`:   "true",
		`"uid":"00000000-0000-4000-8000-0000000000a1"`:           "false",
		`"uid":"00000000-0000-4000-8000-00000000ffff","name":""`: "",
	} {
		out, _, err := j.Join(nil, []byte(`{"class_uid":3002,"user":{`+name+`}}`), tenant, lookups)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if _, rest, ok := bytes.Cut(out, []byte(`"is_external":`)); ok {
			got = string(rest[:bytes.IndexAny(rest, ",}")])
		}
		if got != want {
			t.Errorf("%s: external %q, want %q in %s", name, got, want, out)
		}
	}
}

func TestManyGroups(t *testing.T) {
	t.Parallel()
	d := directory.NewDraft()
	d.SetUser(tenant, "1", adaID, &directory.User{ID: adaID, UserPrincipalName: "ada@example.org"})
	allowed := map[string]bool{}
	for i := range maxGroups + 20 {
		id := fmt.Sprintf("group-%04d", i)
		d.SetGroup(tenant, "2", id, &directory.Group{ID: id, DisplayName: "g", Members: []string{adaID}})
		if i%2 == 0 {
			allowed[id] = true
		}
	}
	event := []byte(`{"class_uid":3002,"user":{"name":"ada@example.org"}}`)
	j := NewJoiner()
	for _, tt := range []struct {
		groups map[string]bool
		want   int
		total  bool
	}{{nil, maxGroups, true}, {allowed, len(allowed), false}, {map[string]bool{}, 0, false}} {
		out, _, err := j.Join(nil, event, tenant, &Lookups{Directory: d.Publish(), Groups: tt.groups})
		if err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(out, []byte(`"name":"g"`)); n != tt.want || bytes.Contains(out, []byte("groups_total")) != tt.total {
			t.Errorf("%d groups, want %d; total said %v, want %v", n, tt.want, !tt.total, tt.total)
		}
	}
}

func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	j, lookups := NewJoiner(), world(t)
	for i := range 3 * maxPlaces {
		event := fmt.Appendf(nil, `{"class_uid":3002,"http_request":{"user_agent":"Chrome/%d"},"src_endpoint":{"ip":"2001:db8::%x"}}`, i, i)
		if _, _, err := j.Join(nil, event, tenant, lookups); err != nil {
			t.Fatal(err)
		}
		if len(j.agents.known) > maxAgents || len(j.places.known) > maxPlaces {
			t.Fatalf("%d programs and %d places are kept", len(j.agents.known), len(j.places.known))
		}
	}
}

func TestMemoryFollowsLookups(t *testing.T) {
	t.Parallel()
	j := NewJoiner()
	event := []byte(`{"class_uid":3002,"user":{"name":"ada@example.org"},"src_endpoint":{"ip":"203.0.113.200"}}`)
	all, _, _ := j.Join(nil, event, tenant, world(t))
	some := world(t)
	some.Groups, some.Places = map[string]bool{}, network.Databases{}
	less, _, _ := j.Join(nil, event, tenant, some)
	if bytes.Contains(less, []byte("Crown jewels")) || bytes.Contains(less, []byte(`"country"`)) || !bytes.Contains(all, []byte("Crown jewels")) {
		t.Errorf("stale: %s", less)
	}
}

func TestQuarantine(t *testing.T) {
	t.Parallel()
	j := NewJoiner()
	for url, want := range map[string]string{
		"https://example.sharepoint.com/sites/x/Shared%20Documents/a.docx":                   "true",
		"https://example.sharepoint.com/sites/x/Shared Documents/a.docx":                     "true",
		"https://example.sharepoint.com/sites/x/Shared Documents":                            "true",
		"https://example.sharepoint.com/sites/x/Freigegebene Dokumente/a.docx":               "false",
		"https://example.sharepoint.com/sites/x/Documents/a.docx":                            "false",
		"https://example-my.sharepoint.com/personal/ada_example_org/Documents/Shared/a.docx": "true",
		"https://example-my.sharepoint.com/personal/ada_example_org/Pictures/a.jpg":          "false",
		"https://files.example.org/Shared Documents/a.docx":                                  "",
		"C:\\Shared Documents\\a.docx":                                                       "",
	} {
		text, _ := json.Marshal(url)
		out, _, err := j.Join(nil, []byte(`{"class_uid":6006,"file":{"path":`+string(text)+`}}`), tenant, &Lookups{})
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if _, rest, ok := bytes.Cut(out, []byte(`"can_quarantine":`)); ok {
			got = string(rest[:bytes.IndexAny(rest, ",}")])
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", url, got, want)
		}
	}
}

func FuzzJoin(f *testing.F) {
	for _, in := range hostile {
		f.Add([]byte(in))
	}
	inputs, _ := filepath.Glob("testdata/*.in.json")
	for _, path := range inputs {
		f.Add(readEvent(f, path))
	}
	lookups := world(f)
	f.Fuzz(func(t *testing.T, event []byte) {
		before := bytes.Clone(event)
		out, report, err := NewJoiner().Join(nil, event, tenant, lookups)
		if !bytes.Equal(before, event) {
			t.Fatal("the event was written to")
		}
		if err != nil {
			return
		}
		if !utf8.Valid(out) || json.Valid(event) && !json.Valid(out) {
			t.Fatalf("no valid JSON: %q", out)
		}
		checkBytes(t, event, out)
		j := NewJoiner()
		_, _, _ = j.Join(nil, []byte(hostile[3]), tenant, lookups)
		again, reportAgain, _ := j.Join(nil, event, tenant, lookups)
		if !bytes.Equal(out, again) || report != reportAgain {
			t.Fatal("not pure")
		}
	})
}

func BenchmarkJoin(b *testing.B) {
	lookups := world(b)
	inputs, _ := filepath.Glob("testdata/*.in.json")
	for _, path := range inputs {
		event := readEvent(b, path)
		b.Run(strings.TrimSuffix(filepath.Base(path), ".in.json"), func(b *testing.B) {
			j := NewJoiner()
			var out []byte
			b.SetBytes(int64(len(event)))
			b.ReportAllocs()
			for b.Loop() {
				var err error
				if out, _, err = j.Join(out[:0], event, tenant, lookups); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
