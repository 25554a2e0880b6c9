package mapping

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"millrace/pkg/audit"
	"millrace/pkg/ocsf"
)

// rounds is how many records each property is tried on. The long run is go test ./normalizer/internal/mapping -rounds 150000.
var rounds = flag.Int("rounds", 2500, "records that each property is tried on")

// anyValue is some JSON value.
func anyValue(rng *rand.Rand) any {
	switch rng.IntN(14) {
	case 0:
		return nil
	case 1:
		return rng.IntN(2) == 0
	case 2:
		return rng.IntN(400)
	case 3:
		return -1.5
	case 4:
		return ""
	case 5:
		return []any{}
	case 6:
		return map[string]any{}
	case 7:
		return []any{"a", 1, nil, map[string]any{"Name": "n", "Value": []any{1}}}
	case 8:
		return map[string]any{"Name": "n", "ID": 7, "x": map[string]any{"y": "z"}}
	case 9:
		return `[{"Name":"a","Value":"b"}]`
	case 10:
		return "ana@example.org"
	case 11:
		return "0b1e0b6e-6a0e-4a36-9d57-0f5b8f0b7a11"
	case 12:
		return strings.Repeat("long ", 1+rng.IntN(40)) + "\u2028\"\\\n\x00é😀"
	default:
		return "[2001:db8::" + strconv.Itoa(rng.IntN(9)) + "]:443"
	}
}

// change replaces something in a record by any other value, or adds or removes a member.
func change(rng *rand.Rand, v map[string]any) {
	keys := make([]string, 0, len(v))
	for k := range v {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	k := keys[rng.IntN(len(keys))]
	switch inner := v[k].(type) {
	case map[string]any:
		if len(inner) > 0 && rng.IntN(3) > 0 {
			change(rng, inner)
			return
		}
	case []any:
		if len(inner) > 0 && rng.IntN(3) > 0 {
			i := rng.IntN(len(inner))
			if m, ok := inner[i].(map[string]any); ok && len(m) > 0 && rng.IntN(3) > 0 {
				change(rng, m)
				return
			}
			inner[i] = anyValue(rng)
			return
		}
	}
	switch rng.IntN(5) {
	case 0:
		delete(v, k)
	case 1:
		f := fieldNames[rng.IntN(len(fieldNames))]
		v[f] = anyValue(rng)
	default:
		v[k] = anyValue(rng)
	}
}

// changed gives records that follow the fixtures, with the shapes of fields mixed up.
func changed(t testing.TB, n int, f func(raw []byte, provenance audit.Provenance)) {
	t.Helper()
	rng := rand.New(rand.NewPCG(7, 11))
	var all []archive
	cases := fixtures(t)
	names := make([]string, 0, len(cases))
	for name := range cases {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if a := cases[name]; json.Valid(a.raw()) && a.raw()[0] != '[' {
			all = append(all, a)
		}
	}
	for i := range n {
		a := all[i%len(all)]
		d := json.NewDecoder(bytes.NewReader(a.raw()))
		d.UseNumber()
		var v map[string]any
		if err := d.Decode(&v); err != nil {
			t.Fatal(err)
		}
		for range rng.IntN(4) {
			if len(v) > 0 {
				change(rng, v)
			}
		}
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		f(raw, a.provenance())
	}
}

// TestTypeConfusion: whatever shapes the fields have, the record becomes valid events or is refused for a reason of the closed set.
func TestTypeConfusion(t *testing.T) {
	t.Parallel()
	m := newMapper(t, Options{RawData: true})
	var g audit.Digester
	refusals := map[string]int{}
	changed(t, *rounds, func(raw []byte, p audit.Provenance) {
		digest, err := g.Sum(raw)
		if err != nil {
			t.Fatal(err)
		}
		events, err := m.Map(nil, audit.Record{Raw: raw, Provenance: p}, digest)
		if refusal, ok := errors.AsType[*Refusal](err); ok {
			refusals[refusal.Reason]++
			return
		}
		if err != nil || len(events) == 0 {
			t.Fatalf("got %d events and error %v for %s", len(events), err, raw)
		}
		for _, e := range events {
			for _, problem := range ocsf.Validate(e.Value) {
				if !problem.Warning {
					t.Fatalf("%v\n%s\n%s", problem, raw, e.Value)
				}
			}
		}
	})
	if refusals[ReasonInvalidJSON] > 0 {
		t.Errorf("got %d records refused as invalid JSON, want none", refusals[ReasonInvalidJSON])
	}
}

// TestDeterminism: the same record gives the same bytes, in any mapper, whatever was mapped before, and the events of a record have
// the same names whatever the order of its members.
func TestDeterminism(t *testing.T) {
	t.Parallel()
	first, second := newMapper(t, Options{}), newMapper(t, Options{})
	var g audit.Digester
	var before []byte
	changed(t, *rounds/2, func(raw []byte, p audit.Provenance) {
		digest, err := g.Sum(raw)
		if err != nil {
			t.Fatal(err)
		}
		rec := audit.Record{Raw: raw, Provenance: p}
		a, err := first.Map(nil, rec, digest)
		if err != nil {
			return
		}
		if before != nil {
			_, _ = second.Map(nil, audit.Record{Raw: before}, 1) // leaves its traces in the worker, or shall not
		}
		before = raw
		b, err := second.Map(nil, rec, digest)
		if err != nil {
			t.Fatalf("the second mapper refuses %s: %v", raw, err)
		}
		other := reversed(t, raw)
		otherDigest, err := g.Sum(other)
		if err != nil || otherDigest != digest {
			t.Fatalf("the order of members changes the digest: %v", err)
		}
		c, err := first.Map(nil, audit.Record{Raw: other, Provenance: p}, otherDigest)
		if err != nil || len(a) != len(b) || len(a) != len(c) {
			t.Fatalf("got %d, %d and %d events for %s: %v", len(a), len(b), len(c), raw, err)
		}
		for i := range a {
			if !bytes.Equal(a[i].Value, b[i].Value) || a[i].UID != c[i].UID || a[i].TypeUID != c[i].TypeUID {
				t.Fatalf("two events of one record:\n%s\n%s", a[i].Value, b[i].Value)
			}
		}
	})
}

// reversed writes the members of a record in the opposite order.
func reversed(t *testing.T, raw []byte) []byte {
	t.Helper()
	var members [][]byte
	c := cursor{raw: raw}
	for c.member() {
		members = append(members, fmt.Appendf(nil, "%s : %s", c.name, c.value))
	}
	slices.Reverse(members)
	return fmt.Appendf(nil, "{%s}", bytes.Join(members, []byte(" ,\n")))
}

// TestNothingLost: each leaf of a record is in unmapped under its own name, or its text is in an attribute, or it is one of the few
// values that an attribute says in other words.
func TestNothingLost(t *testing.T) {
	t.Parallel()
	m := newMapper(t, Options{DLPClear: true})
	var g audit.Digester
	checked := 0
	changed(t, *rounds, func(raw []byte, p audit.Provenance) {
		digest, err := g.Sum(raw)
		if err != nil {
			t.Fatal(err)
		}
		events, err := m.Map(nil, audit.Record{Raw: raw, Provenance: p}, digest)
		if err != nil {
			return
		}
		checked += checkLeaves(t, raw, events)
	})
	t.Logf("%d leaves", checked)
}

// checkLeaves looks for each leaf of the record and returns how many there were.
func checkLeaves(t *testing.T, raw []byte, events []Event) int {
	t.Helper()
	record, event := decode(t, raw), decode(t, events[0].Value)
	unmapped, _ := event["unmapped"].(map[string]any)
	delete(event, "unmapped")
	delete(event, "observables")
	delete(event, "raw_data")
	texts := map[string]bool{}
	leaves("", event, func(_, text string) { texts[text] = true })
	api, _ := event["api"].(map[string]any)
	request, _ := api["request"].(map[string]any)
	data, _ := request["data"].(map[string]any)
	for name := range data {
		texts[name] = true // a parameter's name has become a key
	}
	kept := map[string]bool{}
	leaves("", unmapped, func(path, text string) { kept[path+"="+text] = true })
	for _, e := range events[1:] { // of a fan-out
		u, _ := decode(t, e.Value)["unmapped"].(map[string]any)
		leaves("", u, func(path, text string) { kept[path+"="+text] = true })
	}
	n := 0
	leaves("", record, func(path, text string) {
		n++
		top, _, _ := strings.Cut(strings.TrimPrefix(path, "."), ".")
		top, _, _ = strings.Cut(top, "[")
		if len(events) > 1 && top == "Members" {
			path = ".Members[0]" + path[strings.IndexByte(path, ']')+1:]
		}
		if kept[path+"="+text] || texts[text] || isPlaceholder(text) || said(event, top, text) {
			return
		}
		t.Errorf("%s = %q is nowhere in the event\n%s\n%s", path, text, raw, events[0].Value)
	})
	if t.Failed() {
		t.FailNow()
	}
	return n
}

// said reports whether an attribute says the value of a field in other words.
func said(event map[string]any, field, text string) bool {
	switch field {
	case "Operation":
		code := event["metadata"].(map[string]any)["event_code"]
		return code == strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(text), "."))
	case "UserType":
		v, known := userType(text)
		actor, _ := event["actor"].(map[string]any)
		user, _ := actor["user"].(map[string]any)
		return known && user["type_id"] == json.Number(strconv.Itoa(v.ID()))
	case "ResultStatus":
		says, known := resultStatus(text)
		return known && event["status_id"] == json.Number(strconv.Itoa(says))
	case "IsSuccess":
		want := map[string]string{"true": "1", "false": "2"}[text]
		return event["status_id"] == json.Number(want)
	case "ItemType":
		f, _ := event["file"].(map[string]any)
		want := map[string]string{"File": "1", "Folder": "2"}[text]
		return f["type_id"] == json.Number(want)
	case "ClientIP", "ClientIPAddress", "ActorIpAddress", "ActorIP", "UserIp", "SenderIp":
		a, ok := parseAddress(text)
		src, _ := event["src_endpoint"].(map[string]any)
		return ok && (a.ip == "" || src["ip"] == a.ip) && (a.hostname == "" || src["hostname"] == a.hostname) &&
			(a.port < 0 || src["port"] == json.Number(strconv.Itoa(a.port)))
	case "DestinationRelativeUrl":
		f, _ := event["file_result"].(map[string]any)
		path, _ := f["path"].(string)
		return strings.Contains(path, text)
	}
	return false
}

func decode(t *testing.T, raw []byte) map[string]any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v map[string]any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v\n%s", err, raw)
	}
	return v
}

// leaves calls f with the path and text of each scalar that says something.
func leaves(path string, v any, f func(path, text string)) {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			leaves(path+"."+k, x, f)
		}
	case []any:
		for i, x := range v {
			leaves(path+"["+strconv.Itoa(i)+"]", x, f)
		}
	case nil:
	default:
		if s := fmt.Sprint(v); s != "" {
			f(path, s)
		}
	}
}

// TestCorporaNothingLost tries the same on records that nobody of this project wrote, where they are at hand.
func TestCorporaNothingLost(t *testing.T) {
	m := newMapper(t, Options{DLPClear: true})
	var g audit.Digester
	for _, records := range corpora(t) {
		for _, raw := range records {
			digest, err := g.Sum(raw)
			if err != nil {
				t.Fatal(err)
			}
			if events, err := m.Map(nil, recordOf(raw, "Audit.General"), digest); err == nil {
				checkLeaves(t, raw, events)
			}
		}
	}
}
