package ocsf_test

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"millrace/pkg/ocsf"
)

// logon is an event with a bit of everything that the encoder does.
func logon() *ocsf.Event {
	e := &ocsf.Event{Class: ocsf.ClassAuthentication, Activity: ocsf.Value(ocsf.AuthenticationLogon), Time: 1772442067000}
	e.Metadata = ocsf.Metadata{
		Version: ocsf.Version, Product: ocsf.Product{Name: "Microsoft 365", VendorName: "Microsoft"}, Profiles: []string{"cloud", "host"},
	}
	e.Cloud.Provider = "Microsoft"
	e.User = ocsf.User{Name: "ana@example.org", EmailAddr: "ana@example.org", TypeID: ocsf.OtherValue("Guest")}
	e.Actor.User = e.User
	e.Service.Name = "Portal \"A\"\n"
	e.SrcEndpoint = ocsf.NetworkEndpoint{IP: "203.0.113.7", Port: ocsf.Number(443)}
	e.SeverityID = ocsf.Value(ocsf.SeverityInformational)
	e.StatusID = ocsf.Value(ocsf.OutcomeStatusSuccess)
	e.IsRemote = ocsf.True
	e.Unmapped = ocsf.JSON(`{"RecordType":15}`)
	return e
}

func TestAppend(t *testing.T) {
	t.Parallel()
	const want = `{"category_uid":3,"category_name":"Identity & Access Management","class_uid":3002,"class_name":"Authentication",` +
		`"activity_id":1,"activity_name":"Logon","type_uid":300201,"type_name":"Authentication: Logon","time":1772442067000,"timezone_offset":0,` +
		`"metadata":{"version":"1.8.0","product":{"name":"Microsoft 365","vendor_name":"Microsoft"},"profiles":["cloud","host"]},` +
		`"cloud":{"provider":"Microsoft"},` +
		`"actor":{"user":{"type_id":99,"type":"Guest","name":"ana@example.org","email_addr":"ana@example.org"}},` +
		`"src_endpoint":{"ip":"203.0.113.7","port":443},"status_id":1,"status":"Success","severity_id":1,"severity":"Informational",` +
		`"user":{"type_id":99,"type":"Guest","name":"ana@example.org","email_addr":"ana@example.org"},"service":{"name":"Portal \"A\"\n"},` +
		`"is_remote":true,"unmapped":{"RecordType":15},"observables":[` +
		`{"name":"actor.user.name","type_id":4,"type":"User Name","value":"ana@example.org"},` +
		`{"name":"actor.user.email_addr","type_id":5,"type":"Email Address","value":"ana@example.org"},` +
		`{"name":"src_endpoint.ip","type_id":2,"type":"IP Address","value":"203.0.113.7"},` +
		`{"name":"src_endpoint.port","type_id":11,"type":"Port","value":"443"}]}`
	e := logon()
	got := string(e.Append(nil))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("event (-want +got):\n%s", diff)
	}
	if again := string(e.Append([]byte("x"))); again != "x"+want {
		t.Errorf("the second encoding differs:\n%s", again)
	}
	if problems := ocsf.Validate([]byte(got)); len(problems) != 0 {
		t.Errorf("got problems %v", problems)
	}
}

func TestReset(t *testing.T) {
	t.Parallel()
	e := logon()
	e.WebResources = append(e.WebResources, ocsf.WebResource{Name: "x"})
	e.Reset()
	e.Class, e.Activity = ocsf.ClassAPIActivity, ocsf.Value(0)
	const want = `{"category_uid":6,"category_name":"Application Activity","class_uid":6003,"class_name":"API Activity","activity_id":0,` +
		`"activity_name":"Unknown","type_uid":600300,"type_name":"API Activity: Unknown","time":0,"timezone_offset":0}`
	if got := string(e.Append(nil)); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

func TestObservablesAreBounded(t *testing.T) {
	t.Parallel()
	e := logon()
	e.Class = ocsf.ClassWebResourcesActivity
	for i := range 200 {
		e.WebResources = append(e.WebResources, ocsf.WebResource{Name: "x", UID: strings.Repeat("u", i+1)})
	}
	var got struct{ Observables []any }
	if err := json.Unmarshal(e.Append(nil), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Observables) != 64 {
		t.Errorf("got %d observables, want 64", len(got.Observables))
	}
}

func TestAppendAllocates(t *testing.T) {
	e := logon()
	e.SrcEndpoint.Port = ocsf.Int{}
	buf := e.Append(nil)
	if n := testing.AllocsPerRun(100, func() { buf = e.Append(buf[:0]) }); n > 0 {
		t.Errorf("got %.1f allocations an event, want none", n)
	}
}

// TestValidate changes a valid event in one place each and names what must be found.
func TestValidate(t *testing.T) {
	t.Parallel()
	event := string(logon().Append(nil))
	replace := func(old, text string) string {
		if !strings.Contains(event, old) {
			t.Fatalf("the event has no %s", old)
		}
		return strings.Replace(event, old, text, 1)
	}
	tests := []struct{ name, event, want string }{
		{"not JSON", event[1:], "error event_not_json "},
		{"something behind it", event + "{}", "error event_not_json "},
		{"a list", "[]", "error event_not_object "},
		{"nested beyond measure", strings.Repeat("[", 100_000), "error event_not_json "},
		{"a name twice", replace(`"time":`, `"time":1,"time":`), "error event_duplicate_key "},
		{"a name twice in unmapped", replace(`"RecordType":15`, `"a":{"b":1,"b":2}`), "error event_duplicate_key "},
		{"no class", replace(`"class_uid":3002,`, ``), "error attribute_required_missing class_uid"},
		{"class null", replace(`"class_uid":3002`, `"class_uid":null`), "error attribute_required_missing class_uid"},
		{"class as text", replace(`"class_uid":3002`, `"class_uid":"3002"`), "error attribute_wrong_type class_uid"},
		{"class unknown", replace(`"class_uid":3002`, `"class_uid":9999`), "error class_uid_unknown class_uid"},
		{"category of another class", replace(`"category_uid":3`, `"category_uid":6`), "error attribute_enum_value_unknown category_uid"},
		{"type of another activity", replace(`300201`, `300202`), "error type_uid_incorrect type_uid"},
		{"type unknown", replace(`300201`, `300251`), "error attribute_enum_value_unknown type_uid"},
		{"caption of another type", replace(`"Authentication: Logon"`, `"Authentication: Logoff"`), "error attribute_enum_sibling_incorrect type_name"},
		{"required missing", replace(`"severity_id":1,`, ``), "error attribute_required_missing severity_id"},
		{"required missing inside", replace(`"version":"1.8.0",`, ``), "error attribute_required_missing metadata.version"},
		{"unknown attribute", replace(`"is_remote"`, `"is_local"`), "error attribute_unknown is_local"},
		{"unknown attribute inside", replace(`"ip":`, `"ipv4":`), "error attribute_unknown src_endpoint.ipv4"},
		{"profile unknown", replace(`"cloud","host"`, `"cloud","host","x"`), "error profile_unknown metadata.profiles[2]"},
		{"profile of other classes", replace(`"cloud","host"`, `"cloud","host","ai_operation"`), "error profile_not_applicable metadata.profiles[2]"},
		{"profile missing", replace(`"cloud","host"`, `"host"`), "error attribute_profile_missing cloud"},
		{"later version", replace(`"1.8.0"`, `"1.9.0"`), "error version_incompatible_later metadata.version"},
		{"earlier version", replace(`"1.8.0"`, `"1.7.0"`), "warning version_earlier metadata.version"},
		{"pre-release", replace(`"1.8.0"`, `"1.8.0-dev"`), "error version_incompatible_prerelease metadata.version"},
		{"no version", replace(`"1.8.0"`, `"x"`), "error version_invalid_format metadata.version"},
		{"null", replace(`"time":1772442067000`, `"time":null`), "error attribute_null time"},
		{"float for integer", replace(`1772442067000`, `1.5`), "error attribute_wrong_type time"},
		{"text for truth", replace(`"is_remote":true`, `"is_remote":"true"`), "error attribute_wrong_type is_remote"},
		{"single for list", replace(`["cloud","host"]`, `"cloud"`), "error attribute_wrong_type metadata.profiles"},
		{"enum value", replace(`"status_id":1,"status":"Success"`, `"status_id":7`), "error attribute_enum_value_unknown status_id"},
		{"caption", replace(`"Success"`, `"success"`), "error attribute_enum_sibling_incorrect status"},
		{"99 with a caption", replace(`"type":"Guest"`, `"type":"Admin"`), "warning attribute_enum_sibling_suspicious_other actor.user.type"},
		{"99 without a word", replace(`"type":"Guest",`, ``), "warning attribute_enum_sibling_missing_other actor.user.type"},
		{"port out of range", replace(`"port":443`, `"port":70000`), "error attribute_value_exceeds_range src_endpoint.port"},
		{"address too long", replace(`"ip":"203.0.113.7"`, `"ip":"`+strings.Repeat("1", 41)+`"`), "error attribute_value_exceeds_max_len src_endpoint.ip"},
		{"no mail address", replace(`"email_addr":"ana@example.org"`, `"email_addr":"ana"`), "warning attribute_value_regex_not_matched actor.user.email_addr"},
		{"constraint", replace(`"service":{"name":"Portal \"A\"\n"},`, ``), "error constraint_failed "},
		{"constraint inside", replace(`"ip":"203.0.113.7","port"`, `"port"`), "error constraint_failed src_endpoint"},
		{"observable to nowhere", replace(`"name":"src_endpoint.ip"`, `"name":"src_endpoint.mac"`), "error observable_name_invalid_reference observables[2].name"},
		{"observable of another value", replace(`"value":"203.0.113.7"`, `"value":"203.0.113.8"`), "error observable_value_not_found observables[2].value"},
		{"observable without value", replace(`,"value":"203.0.113.7"`, ``), "error observable_value_missing observables[2]"},
		{"observable type", replace(`"type_id":2,"type":"IP Address"`, `"type_id":1,"type":"Hostname"`), "warning observable_type_unexpected observables[2].type_id"},
		{"raw size", replace(`"is_remote"`, `"raw_data":"x","raw_data_size":2,"is_remote"`), "error raw_data_size_incorrect raw_data_size"},
		{"raw hash", replace(`"is_remote"`, `"raw_data":"x","raw_data_hash":{"algorithm_id":3,"value":"00"},"is_remote"`), "error raw_data_hash_incorrect raw_data_hash.value"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, p := range ocsf.Validate([]byte(tt.event)) {
				level := "error "
				if p.Warning {
					level = "warning "
				}
				if got = append(got, level+p.Code+" "+p.Path); got[len(got)-1] == tt.want {
					return
				}
			}
			t.Errorf("got %q, want %q among them", got, tt.want)
		})
	}
}

func TestClass(t *testing.T) {
	t.Parallel()
	c := ocsf.ClassFileHosting
	if !c.Known() || c.Name() != "file_hosting" || c.Caption() != "File Hosting Activity" || !c.Has(ocsf.AttrFile) || c.Has(ocsf.AttrEmail) {
		t.Errorf("class %d is not described as in the table", c)
	}
	if s, ok := c.Activity(ocsf.FileHostingShare); !ok || s != "Share" {
		t.Errorf("got activity %q", s)
	}
	if n, ok := c.ActivityOf("Share"); !ok || n != ocsf.FileHostingShare {
		t.Errorf("got activity %d", n)
	}
	none := ocsf.Class(1)
	if _, ok := none.Activity(1); ok || none.Known() || none.Has(ocsf.AttrFile) || none.HasProfile("cloud") || none.Name()+none.Caption() != "" {
		t.Error("a class that nobody emits is described")
	}
	if _, ok := none.ActivityOf("Share"); ok || !c.HasProfile("cloud") {
		t.Error("profiles and captions are mixed up")
	}
}

func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "plain", "a\"b\\c\n\r\t\x00\x1f", "é€😀", "\xff\xfe", "\u2028", "\x7f"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		b := ocsf.AppendString(nil, s)
		var got string
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatalf("%q: %v", b, err)
		}
		if utf8.ValidString(s) && got != s {
			t.Fatalf("got %q, want %q", got, s)
		}
		if !utf8.Valid(b) || strings.ContainsAny(string(b), "\n") {
			t.Fatalf("%q is no JSON string on one line", b)
		}
	})
}

// FuzzAppend puts any texts and numbers into an event: the encoder writes JSON on one line from which they can be read again, and observables that are
// where they say.
func FuzzAppend(f *testing.F) {
	f.Add("ana@example.org", "203.0.113.7", "a/b.docx", "Operation", int64(1772442067000), uint16(443), uint8(3))
	f.Add("\xff", "::1", "\u2028\"\\", "", int64(-1), uint16(0), uint8(80))
	f.Fuzz(func(t *testing.T, user, address, path, word string, number int64, port uint16, many uint8) {
		e := logon()
		classes := ocsf.Classes()
		e.Class = classes[int(many)%len(classes)]
		e.Activity, e.StatusID = ocsf.OtherValue(word), ocsf.OtherValue(word)
		e.Time = number
		e.User.Name, e.Actor.User.UID, e.Message = user, path, word+user
		e.SrcEndpoint = ocsf.NetworkEndpoint{IP: address, Port: ocsf.Number(int64(port)), Hostname: path}
		e.File = ocsf.File{Name: path, Path: path, URL: ocsf.URL{URLString: path}}
		e.Privileges = []string{word, "", user}
		for range many {
			e.WebResources = append(e.WebResources, ocsf.WebResource{Name: word, UID: path, URLString: user})
			e.Resources = append(e.Resources, ocsf.ResourceDetails{Name: user, UID: word})
		}
		b := e.Append(nil)
		if again := e.Append(nil); string(again) != string(b) {
			t.Fatalf("encoded twice:\n%s\n%s", b, again)
		}
		var got struct {
			Time    int64
			Message string
		}
		if err := json.Unmarshal(b, &got); err != nil || !utf8.Valid(b) || strings.ContainsAny(string(b), "\n") {
			t.Fatalf("%v: %q", err, b)
		}
		if got.Time != number || utf8.ValidString(word+user) && got.Message != word+user {
			t.Fatalf("got %d and %q, want %d and %q", got.Time, got.Message, number, word+user)
		}
		for _, p := range ocsf.Validate(b) {
			if strings.HasPrefix(p.Code, "event_") || strings.HasPrefix(p.Code, "observable_") && !p.Warning {
				t.Fatalf("%v in %s", p, b)
			}
		}
	})
}

func FuzzValidate(f *testing.F) {
	f.Add(logon().Append(nil))
	f.Add([]byte(`{"class_uid":3002,"observables":[{"name":"a[99999999999999999999].b"}]}`))
	f.Fuzz(func(_ *testing.T, b []byte) { ocsf.Validate(b) })
}
