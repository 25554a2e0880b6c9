package mapping

import (
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"millrace/pkg/audit"
	"millrace/pkg/ocsf"
)

// FuzzMap: any bytes are valid events or a refusal, the same again, and refused exactly where the rest of the pipeline cannot read
// them either.
func FuzzMap(f *testing.F) {
	for _, a := range fixtures(f) {
		f.Add(a.raw())
	}
	m, again := newMapper(f, Options{RawData: true, DLPClear: true}), newMapper(f, Options{RawData: true, DLPClear: true})
	f.Fuzz(func(t *testing.T, raw []byte) {
		rec := recordOf(raw, "Audit.General")
		events, err := m.Map(nil, rec, 1)
		envelope, envelopeErr := audit.ParseEnvelope(raw)
		if refusal, ok := errors.AsType[*Refusal](err); ok {
			if refusal.Reason == ReasonInvalidJSON && envelopeErr == nil {
				t.Fatalf("%v, but audit.ParseEnvelope takes it", refusal)
			}
			return
		}
		if err != nil || envelopeErr != nil {
			t.Fatalf("got %v, audit.ParseEnvelope says %v", err, envelopeErr)
		}
		second, err := again.Map(nil, rec, 1)
		if err != nil || len(second) != len(events) {
			t.Fatalf("the second time: %d events and %v, want %d", len(second), err, len(events))
		}
		for i, e := range events {
			if p, ok := ocsf.Valid(e.Value); !ok {
				t.Fatalf("%v\n%s", p, e.Value)
			}
			if string(e.Value) != string(second[i].Value) {
				t.Fatalf("two events of one record:\n%s\n%s", e.Value, second[i].Value)
			}
		}
		if envelope.ID == "" {
			t.Fatal("an event without Id")
		}
	})
}

// FuzzAddress: what is taken for an address is one in its canonical form, and nothing panics.
func FuzzAddress(f *testing.F) {
	for _, s := range []string{
		"198.51.100.7", "[198.51.100.7]:443", "2001:db8::7", "[2001:db8::7]:1", "::ffff:1.2.3.4", "HOST (1.2.3.4)", "[H (1.2.3.4)]:1", "H:80",
		"<null>", "ffff:10.11.0.229", "999.1.1.1", "[", "]:", "fe80::1%eth0", "(", " ()", "a:b:c",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, ok := parseAddress(s)
		if !ok {
			return
		}
		if a.ip == "" && a.hostname == "" || a.port > 65535 || len(a.ip) > maxIP {
			t.Fatalf("%q became %+v", s, a)
		}
		if a.ip != "" {
			if ip, err := netip.ParseAddr(a.ip); err != nil || ip.String() != a.ip || ip.Is4In6() {
				t.Fatalf("%q became the address %q", s, a.ip)
			}
		}
		if strings.ContainsAny(a.hostname, " []():") {
			t.Fatalf("%q became the host %q", s, a.hostname)
		}
	})
}

// FuzzUser: names of users never become an address that is none.
func FuzzUser(f *testing.F) {
	for _, s := range []string{"ana@example.org", "urn:spo:guest#a@b.c", "x#EXT#@example.org", "app@sharepoint", "@", "a@b@c.d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		email, domain := address(s)
		if (email == "") != (domain == "") || email != "" && !strings.HasSuffix(email, "@"+domain) || !strings.HasSuffix(s, email) {
			t.Fatalf("%q became %q at %q", s, email, domain)
		}
	})
}

// FuzzPairs: lists of pairs become valid JSON without repeated names.
func FuzzPairs(f *testing.F) {
	for _, s := range []string{
		`[{"Name":"a","Value":1},{"Name":"a","Value":[2]},{"Name":"b","Value":""}]`, `{"a":1}`, `"[]"`, `[1,{"Name":3}]`, `[{"Value":1,"Name":"\u0061"}]`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if !json.Valid(raw) {
			return
		}
		var r record
		r.init()
		doc := append(append([]byte(`{"ModifiedProperties":[],"Parameters":`), raw...), '}')
		if err := r.decode(doc); err != nil {
			return
		}
		object, _ := r.pairMap(fParameters)
		if object == nil {
			return
		}
		var s duplicateScan
		if !json.Valid(object) || object[0] != '{' || s.check(object) != scanClean {
			t.Fatalf("%s became %s", raw, object)
		}
		r.pairText(fParameters, "a")
		r.changes(true)
	})
}

// FuzzMask: masking keeps JSON valid and leaves no matched text.
func FuzzMask(f *testing.F) {
	f.Add([]byte(`{"DetectedValues":[{"Name":"4111111111111111","Value":"x"}]}`))
	f.Add([]byte(`"{\"DetectedValues\":[\"4111111111111111\"]}"`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if !json.Valid(raw) || len(strings.TrimSpace(string(raw))) == 0 {
			return
		}
		var r record
		r.init()
		if r.decode(append(append([]byte(`{"X":`), raw...), '}')) != nil {
			return
		}
		value := r.members[0].raw
		if masked := appendMasked(nil, value); !json.Valid(masked) {
			t.Fatalf("%s became %s", value, masked)
		}
		secret := append(append([]byte(`{"DetectedValues":["4111222233334444",{"4111222233334444":1},`), value...), `]}`...)
		if masked := appendMasked(nil, secret); strings.Contains(string(masked), "4111222233334444") || !json.Valid(masked) {
			t.Fatalf("%s became %s", secret, masked)
		}
	})
}

// FuzzFold: folding repeated names leaves none.
func FuzzFold(f *testing.F) {
	f.Add([]byte(`{"a":1,"\u0061":{"b":1,"b":2},"c":[{"d":1,"d":[]}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if !json.Valid(raw) {
			return
		}
		var r record
		r.init()
		if r.decode(append(append([]byte(`{"X":`), raw...), '}')) != nil {
			return
		}
		var s duplicateScan
		if value := r.members[0].raw; !json.Valid(value) || s.check(value) != scanClean {
			t.Fatalf("%s became %s", raw, value)
		}
	})
}
