package app_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"millrace/pkg/audit"
	"millrace/pkg/kafkatx"
	"millrace/pkg/wire"
)

// forms are the ways in which one record comes: their bytes differ, their content does not.
var forms = []struct {
	name string
	of   func(t testing.TB, body string) string
}{
	{"the same bytes", func(_ testing.TB, body string) string { return body }},
	{"members in another order", func(t testing.TB, body string) string {
		t.Helper()
		var members map[string]json.RawMessage
		if err := json.Unmarshal([]byte(body), &members); err != nil {
			t.Fatal(err)
		}
		sorted, err := json.Marshal(members)
		if err != nil {
			t.Fatal(err)
		}
		return string(sorted)
	}},
	{"white space and escapes", func(t testing.TB, body string) string {
		t.Helper()
		var b bytes.Buffer
		if err := json.Indent(&b, []byte(body), "", "  "); err != nil {
			t.Fatal(err)
		}
		return strings.ReplaceAll(b.String(), "@example", `\u0040example`)
	}},
	{"as Graph's audit search gives it", func(_ testing.TB, body string) string {
		body = strings.Replace(body, `:00"`, `:00Z"`, 1) // CreationTime
		return strings.Replace(body, "{", `{"@odata.type":"#microsoft.graph.security.defaultAuditData","Workload@odata.type":"#String",`, 1)
	}},
}

// copyOf is a record's body as it is served at a time, from a source.
func copyOf(source audit.Source, body string, at time.Time) kafkatx.Record {
	env, _ := audit.ParseEnvelope([]byte(body)) // of what is no record the empty envelope
	return wire.RawRecord(names, partitions, audit.Record{Raw: []byte(body), Provenance: audit.Provenance{
		Tenant: tenantID, Source: source, Domain: audit.DomainAudit, ContentType: "Audit." + string(source), ContentID: "blob of " + at.String(),
		Created: at, Fetched: at.Add(time.Minute),
	}}, env)
}

func bodyOf(id, extra string) string { return string(record(audit.SourceSharePoint, id, extra).Value) }

// TestOneRecordInAllItsForms serves one record again and again: minutes and days later, in other content types, from an export, in Graph's form,
// across restarts. It is one event. The same Id with other content is another one.
func TestOneRecordInAllItsForms(t *testing.T) {
	t.Parallel()
	p := newPipe(t)
	sources := []audit.Source{audit.SourceSharePoint, audit.SourceGeneral, audit.SourceImport, audit.SourceRedrive}
	for day, delay := range []time.Duration{0, 5 * time.Minute, 5 * 24 * time.Hour} {
		for i, form := range forms {
			for j := range sources {
				p.produce(copyOf(sources[(day+i+j)%len(sources)], form.of(t, bodyOf("one", "")), began.Add(delay)))
			}
		}
		p.start(p.config())
		p.caughtUp()
		p.stop()
	}
	if diff := cmp.Diff([]string{"one"}, p.ids(names.EventsAll()...)); diff != "" {
		t.Error(diff)
	}
	for _, form := range forms {
		p.produce(copyOf(audit.SourceGeneral, form.of(t, bodyOf("one", `,"ItemType":"File"`)), began.Add(6*24*time.Hour)))
	}
	p.start(p.config())
	p.caughtUp()
	if diff := cmp.Diff([]string{"one", "one*"}, p.ids(names.EventsAll()...)); diff != "" {
		t.Error(diff)
	}
	uids := map[string]bool{}
	for _, r := range p.committed(names.EventsAll()...) {
		uids[header(r, wire.HeaderID)] = true
	}
	if len(uids) != 2 {
		t.Errorf("%d events have the ids %v", 2, uids)
	}
}

// feed is what a tenant's feed serves in some days: each record, copies of some in any form and after up to 5 days, and other content under the Id
// of a few.
type feed struct {
	served []kafkatx.Record // in the order in which they were fetched
	want   []string         // as pipe.ids gives them
}

func newFeed(t testing.TB, seed uint64, records int, days float64) feed {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 1))
	sources := []audit.Source{audit.SourceSharePoint, audit.SourceGeneral, audit.SourceExchange, audit.SourceImport}
	later := func() time.Duration {
		return []time.Duration{0, time.Duration(rng.IntN(60)) * time.Minute, time.Duration(rng.IntN(24)) * time.Hour, 5 * 24 * time.Hour}[rng.IntN(4)]
	}
	type fetch struct {
		at  time.Time
		rec kafkatx.Record
	}
	var f feed
	var all []fetch
	add := func(body string, at time.Time) {
		body = forms[rng.IntN(len(forms))].of(t, body)
		all = append(all, fetch{at, copyOf(sources[rng.IntN(len(sources))], body, at)})
	}
	for i := range records {
		at := began.Add(time.Duration(rng.Float64() * days * 24 * float64(time.Hour)))
		id := fmt.Sprintf("id-%05d", i)
		f.want = append(f.want, id)
		add(bodyOf(id, ""), at)
		for range rng.IntN(3) {
			add(bodyOf(id, ""), at.Add(later()))
		}
		if rng.IntN(10) == 0 {
			f.want = append(f.want, id+"*")
			for range 2 {
				add(bodyOf(id, `,"ItemType":"File"`), at.Add(later()))
			}
		}
	}
	slices.SortStableFunc(all, func(a, b fetch) int { return a.at.Compare(b.at) })
	for _, one := range all {
		f.served = append(f.served, one.rec)
	}
	slices.Sort(f.want)
	return f
}

// between are the records fetched in a part of the days, counted from the first.
func (f feed) between(from, to float64) []kafkatx.Record {
	at := func(days float64) time.Time { return began.Add(time.Duration(days * 24 * float64(time.Hour))) }
	var out []kafkatx.Record
	for _, r := range f.served {
		if !r.Time.Before(at(from)) && r.Time.Before(at(to)) {
			out = append(out, r)
		}
	}
	return out
}

// TestDownForDaysAndBehind is a normalizer that runs for a day, is down for six, catches up, and then has one topic that lags three days behind the
// others. The clock is that of the records, so days pass as fast as they are read.
func TestDownForDaysAndBehind(t *testing.T) {
	t.Parallel()
	p := newPipeFor(t, 4*patience)
	f := newFeed(t, 1, 800, 10)
	cfg := p.config()
	cfg.Batch.Records = 40 // so that the floor of the seen set moves
	p.produce(f.between(0, 1)...)
	p.start(cfg)
	p.caughtUp()
	p.stop()
	p.produce(f.between(1, 7)...)
	p.start(cfg)
	p.caughtUp()
	var lagging []kafkatx.Record
	for day := 7.0; day < 20; day++ {
		var prompt []kafkatx.Record
		for _, r := range f.between(day, day+1) {
			if r.Topic == names.Raw(audit.SourceSharePoint) {
				lagging = append(lagging, r)
			} else {
				prompt = append(prompt, r)
			}
		}
		p.produce(prompt...)
		late := slices.IndexFunc(lagging, func(r kafkatx.Record) bool { return r.Time.After(began.Add(time.Duration(day-3) * 24 * time.Hour)) })
		if late < 0 {
			late = len(lagging)
		}
		p.produce(lagging[:late]...)
		lagging = lagging[late:]
		p.caughtUp()
	}
	if len(lagging) > 0 {
		t.Fatalf("%d records were never served", len(lagging))
	}
	p.stop()
	if diff := cmp.Diff(f.want, p.ids(names.EventsAll()...)); diff != "" {
		t.Error(diff)
	}
	if n := len(p.committed(names.DeadLetter(false))); n > 0 {
		t.Errorf("%d dead letters", n)
	}
	t.Logf("%d copies, %d events", len(f.served), len(f.want))
}
