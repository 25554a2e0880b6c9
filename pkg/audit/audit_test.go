package audit

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
)

const tenant = TenantID("3f1c0b6e-6a0e-4a36-9d57-0f5b8f0b7a11")

func TestKey(t *testing.T) {
	t.Parallel()
	const guid = "0B1E0B6E-6A0E-4A36-9D57-0F5B8F0B7A11"
	tests := []struct{ name, raw, want string }{
		{"user", `{"UserId":"Ana@Example.org","UserType":0,"Id":"1"}`, "ana@example.org"},
		{"user of no type", `{"UserId":"ana@example.org","Id":"1"}`, "ana@example.org"},
		{"user by object id", `{"UserId":"` + guid + `","UserType":2,"Id":"1"}`, strings.ToLower(guid)},
		{"guest", `{"UserId":"bo_example.net#EXT#@example.org","UserType":10,"Id":"1"}`, "bo_example.net#ext#@example.org"},
		{"system goes by id", `{"UserId":"ana@example.org","UserType":4,"Id":"1"}`, "1"},
		{"application goes by id", `{"UserId":"ana@example.org","UserType":"5","Id":"1"}`, "1"},
		{"service principal goes by id", `{"UserId":"` + guid + `","UserType":6,"Id":"1"}`, "1"},
		{"app@sharepoint is no address", `{"UserId":"app@sharepoint","UserType":0,"Id":"1"}`, "1"},
		{"claim is no address", `{"UserId":"urn:spo:guest#a@example.org","UserType":0,"Id":"1"}`, "1"},
		{"finding before user", `{"UserId":"ana@example.org","InvestigationId":"v","IncidentId":"i","AlertId":"a"}`, "a"},
		{"incident before investigation", `{"InvestigationId":"v","IncidentId":"i"}`, "i"},
		{"empty finding is absent", `{"AlertId":"","IncidentId":null,"Id":"1"}`, "1"},
		{"last member wins", `{"UserId":"a@example.org","Id":"1","UserId":"b@example.org"}`, "b@example.org"},
		{"last member wins over a value", `{"UserId":"a@example.org","Id":"1","UserId":null}`, "1"},
		{"case matters in names", `{"userid":"a@example.org","Id":"1"}`, "1"},
		{"nested members do not count", `{"X":{"UserId":"a@example.org"},"Id":"1"}`, "1"},
		{"escapes are resolved", `{"UserId":"an\u0061@example.org"}`, "ana@example.org"},
		{"number as id", `{"Id":17}`, "17"},
		{"nothing", `{}`, "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},
		{"no record", `[1`, "c96c3d23ee5ef1fc92e2f3d8a4d6cd81dcd1e9dddcd9a3bd4f3b12ffbf8e2a48"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e, err := ParseEnvelope([]byte(tt.raw))
			if err != nil && tt.name != "no record" {
				t.Fatal(err)
			}
			got := e.Key(tenant, []byte(tt.raw))
			if tt.name == "no record" {
				if !errors.Is(err, ErrNotRecord) || len(got) != len(tenant)+1+64 {
					t.Errorf("got key %q and error %v, want a hash and ErrNotRecord", got, err)
				}
				return
			}
			if want := string(tenant) + ":" + tt.want; got != want {
				t.Errorf("got key %q, want %q", got, want)
			}
		})
	}
}

func TestParseEnvelopeRefuses(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{
		"", " ", "null", "[]", `"x"`, "{", `{"a":1`, `{"a":1}x`, `{"a":1} {"b":2}`, `{"a":1}"`, `{"a":1}[`, `{"a":}`, "{\"a\":\"\xff\"}",
		`{"a":` + strings.Repeat("[", 100_000), strings.Repeat(`{"a":`, 100_000),
	} {
		if _, err := ParseEnvelope([]byte(raw)); !errors.Is(err, ErrNotRecord) {
			t.Errorf("%.20q: got %v, want ErrNotRecord", raw, err)
		}
	}
	if _, err := ParseEnvelope([]byte(" {\"a\":1}\r\n\t ")); err != nil {
		t.Errorf("white space around a record: %v", err)
	}
}

// TestDigestVectors pins the algorithm: the file is part of the contract, metadata.uid depends on it.
func TestDigestVectors(t *testing.T) {
	t.Parallel()
	f, err := os.Open("testdata/digest.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var g Digester
	for s := bufio.NewScanner(f); s.Scan(); {
		want, raw, ok := strings.Cut(s.Text(), " ")
		if !ok || strings.HasPrefix(want, "#") {
			continue
		}
		got, err := g.Sum([]byte(raw))
		if err != nil {
			t.Errorf("%s: %v", raw, err)
		}
		if hex := fmt.Sprintf("%016x", got); hex != want {
			t.Errorf("%s: got %s, want %s", raw, hex, want)
		}
	}
}

func TestDigestEqual(t *testing.T) {
	t.Parallel()
	const base = `{"Id":"1","CreationTime":"2026-03-02T08:00:00","N":1.0,"L":[{"a":1,"b":2},"x"],"S":"é/\"","D":1,"D":2}`
	same := map[string]string{
		"order of members": `{"L":[{"b":2,"a":1},"x"],"S":"é/\"","D":1,"N":1.0,"D":2,"CreationTime":"2026-03-02T08:00:00","Id":"1"}`,
		"white space":      "{ \"Id\" :\"1\",\"CreationTime\":\"2026-03-02T08:00:00\",\n\"N\":1.0,\"L\":[ {\"a\":1,\"b\":2} ,\"x\"],\"S\":\"é/\\\"\",\"D\":1,\"D\":2}",
		"escapes":          `{"I\u0064":"1","CreationTime":"2026-03-02T08:00:00","N":1.0,"L":[{"a":1,"b":2},"x"],"S":"\u00e9\/\u0022","D":1,"D":2}`,
		"trailing Z":       strings.Replace(base, `08:00:00"`, `08:00:00Z"`, 1),
		"odata type":       strings.Replace(base, `{"a":1`, `{"a@odata.type":"#Edm.Int32","a":1`, 1),
	}
	other := map[string]string{
		"number written otherwise": strings.Replace(base, "1.0", "1.00", 1),
		"order of a list":          strings.Replace(base, `[{"a":1,"b":2},"x"]`, `["x",{"a":1,"b":2}]`, 1),
		"repeated members swapped": strings.Replace(base, `"D":1,"D":2`, `"D":2,"D":1`, 1),
		"string for number":        strings.Replace(base, `"N":1.0`, `"N":"1.0"`, 1),
		"Z elsewhere":              strings.Replace(base, `"Id":"1"`, `"Id":"1Z"`, 1),
		"null for nothing":         strings.Replace(base, `"Id":"1"`, `"Id":"1","Q":null`, 1),
	}
	var g Digester
	want, err := g.Sum([]byte(base))
	if err != nil {
		t.Fatal(err)
	}
	for name, raw := range same {
		if got, err := g.Sum([]byte(raw)); err != nil || got != want {
			t.Errorf("%s: got %x, %v, want %x", name, got, err, want)
		}
	}
	for name, raw := range other {
		if got, err := g.Sum([]byte(raw)); err != nil || got == want {
			t.Errorf("%s: got %x, %v, want another digest", name, got, err)
		}
	}
}

func TestDigestAllocates(t *testing.T) {
	raw := []byte(`{"Id":"1","CreationTime":"2026-03-02T08:00:00","L":[{"a":1,"b":2},"x"],"S":"text"}`)
	var g Digester
	if n := testing.AllocsPerRun(100, func() { _, _ = g.Sum(raw) }); n > 6 {
		t.Errorf("got %.0f allocations a digest, want at most 6", n)
	}
}

func FuzzDigest(f *testing.F) {
	f.Add([]byte(`{"Id":"1","L":[1,{"a":null}]}`))
	f.Add([]byte(`{"a":"\ud800"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var g Digester
		e, err := ParseEnvelope(raw)
		if err != nil {
			return
		}
		first, err := g.Sum(raw)
		if err != nil {
			t.Fatalf("a record that ParseEnvelope takes has no digest: %v", err)
		}
		if again, _ := g.Sum(raw); again != first {
			t.Fatalf("two digests of one record: %x and %x", first, again)
		}
		if len(e.Key(tenant, raw)) > len(tenant)+1+maxKeyPart {
			t.Fatal("unbounded key")
		}
	})
}
