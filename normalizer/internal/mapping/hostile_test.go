package mapping

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"millrace/pkg/audit"
	"millrace/pkg/ocsf"
)

const head = `{"CreationTime":"2026-03-02T08:00:00","Id":"1","RecordType":8,"Workload":"AzureActiveDirectory","Operation":"Add user."`

// hostile are records that somebody made to do harm, with the reason they must be refused for; "" = an event.
func hostile() map[string]struct{ raw, reason string } {
	members := strings.Builder{}
	for i := range 100_000 {
		fmt.Fprintf(&members, `,"m%d":%d`, i, i)
	}
	inner := strings.TrimPrefix(members.String(), ",")
	twice := members.String()[:1<<20]
	twice = twice[:strings.LastIndexByte(twice, ',')]
	million := strings.Builder{}
	for i := range 1_000_000 {
		fmt.Fprintf(&million, `,"m%d":%d`, i, i)
	}
	// 5 MB as a busy mailbox may send it: one record with thousands of items.
	items := strings.Repeat(`{"Id":"RgAAAA","InternetMessageId":"<a@example.org>","ParentFolder":{"Id":"LgAA","Path":"\\Inbox"},"Subject":"`+strings.Repeat("s", 80)+`"},`, 25_000)
	same := strings.Repeat(`,"X":1`, 200_000)
	pairs := strings.Repeat(`{"Name":"a","Value":"b"},`, 100_000)
	return map[string]struct{ raw, reason string }{
		"depth beyond the decoder's bound": {head + `,"X":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + `}`, ReasonInvalidJSON},
		"depth just refused":               {head + `,"X":` + strings.Repeat(`{"a":`, 9_950) + `1` + strings.Repeat("}", 9_950) + `}`, ReasonInvalidJSON},
		"depth just taken":                 {head + `,"X":` + strings.Repeat(`[`, 9_890) + strings.Repeat("]", 9_890) + `}`, ""},
		"depth unclosed":                   {head + `,"X":` + strings.Repeat(`{"a":`, 100_000), ReasonInvalidJSON},
		"a string of 64 MiB":               {head + `,"X":"` + strings.Repeat("x", 64<<20) + `"}`, ""},
		"an operation of 8 MiB":            {`{"CreationTime":"2026-03-02T08:00:00","Id":"1","RecordType":8,"Operation":"` + strings.Repeat("Aa*", 8<<20/3) + `"}`, ""},
		"many members":                     {head + members.String() + `}`, ""},
		"a million members":                {head + million.String() + `}`, ""},
		"5 MB of items":                    {`{"CreationTime":"2026-03-02T08:00:00","Id":"1","RecordType":3,"Workload":"Exchange","Operation":"HardDelete","AffectedItems":[` + items + `{}]}`, ""},
		"many members inside":              {head + `,"X":{` + inner + `}}`, ""},
		"one name many times":              {head + same + `}`, ""},
		"many names twice":                 {head + twice + twice + `}`, ""},
		"one known name many times":        {head + strings.Repeat(`,"UserId":"a"`, 50_000) + `}`, ""},
		"one name many times inside":       {head + `,"X":{"a":0` + strings.Repeat(`,"a":1`, 100_000) + `}}`, ""},
		"many pairs":                       {head + `,"Parameters":[` + strings.TrimSuffix(pairs, ",") + `]}`, ""},
		"many properties":                  {head + `,"ModifiedProperties":[` + strings.TrimSuffix(pairs, ",") + `]}`, ""},
		"many members of a group":          {strings.Replace(head, "Add user.", "Add member to group.", 1) + `,"Members":[` + strings.Repeat(`{},`, 50_000) + `{}]}`, ""},
		"many targets":                     {head + `,"Target":[` + strings.Repeat(`{"ID":"a","Type":1},`, 100_000) + `{}]}`, ""},
		"invalid UTF-8":                    {head + ",\"X\":\"\xff\"}", ReasonInvalidJSON},
		"invalid UTF-8 in a name":          {head + ",\"\xc3\x28\":1}", ReasonInvalidJSON},
		"lone surrogates":                  {head + `,"UserId":"\ud800","\udc00":"\udc00\ud800"}`, ""},
		"NUL":                              {head + `,"UserId":"\u0000","X\u0000":"\u0000"}`, ""},
		"a control character":              {head + ",\"X\":\"\x01\"}", ReasonInvalidJSON},
		"numbers out of range":             {head + `,"RecordType":1e999,"UserType":99999999999999999999,"Version":-1e999}`, ""},
		"odd numbers":                      {head + `,"X":01}`, ReasonInvalidJSON},
		"trailing garbage":                 {head + `}x`, ReasonInvalidJSON},
		"two records":                      {head + `}` + head + `}`, ReasonInvalidJSON},
		"empty":                            {``, ReasonInvalidJSON},
		"blank":                            {" \n", ReasonInvalidJSON},
		"null":                             {`null`, ReasonInvalidJSON},
		"a byte order mark":                {"\ufeff" + head + `}`, ReasonInvalidJSON},
		"time of the year 0":               {`{"CreationTime":"0000-01-01T00:00:00","Id":"1"}`, ""},
		"time of the year 9999":            {`{"CreationTime":"9999-12-31T23:59:59.999999999Z","Id":"1"}`, ""},
		"time as object":                   {`{"CreationTime":{},"Id":"1"}`, ReasonNoTime},
		"JSON in JSON in JSON":             {head + `,"PolicyDetails":"[\"[\\\"[]\\\"]\"]","Members":"[{\"a\":1,\"a\":2}]","Parameters":"{\"a\":1,\"a\":2}"}`, ""},
	}
}

func TestHostile(t *testing.T) {
	t.Parallel()
	m := newMapper(t, Options{})
	for name, tt := range hostile() {
		t.Run(name, func(t *testing.T) {
			raw := []byte(tt.raw)
			events, err := m.Map(nil, recordOf(raw, "Audit.General"), 1)
			var refusal *Refusal
			switch {
			case errors.As(err, &refusal):
				if refusal.Reason != tt.reason {
					t.Fatalf("got refusal %v, want reason %q", refusal, tt.reason)
				}
			case err != nil:
				t.Fatal(err)
			case tt.reason != "":
				t.Fatalf("got an event, want a refusal for %s", tt.reason)
			case !utf8.Valid(events[0].Value) || !json.Valid(events[0].Value):
				t.Fatal("the event is not JSON in UTF-8")
			case len(events[0].Value) < 4<<20:
				if p, ok := ocsf.Valid(events[0].Value); !ok && name != "depth just taken" {
					t.Fatalf("%v in %.2000s", p, events[0].Value)
				}
			}
			// What the rest of the pipeline reads must accept what this stage does, and so must the digest that repeats are told by.
			var g audit.Digester
			if _, _, err := g.Read(raw); err != nil && tt.reason != ReasonInvalidJSON {
				t.Errorf("audit.Digester refuses what the mapper takes: %v", err)
			}
			if _, err := audit.ParseEnvelope(raw); err != nil && tt.reason != ReasonInvalidJSON {
				t.Errorf("audit.ParseEnvelope refuses what the mapper takes: %v", err)
			}
			if len(events) > 0 {
				if _, err := audit.ParseEnvelope(events[0].Value); err != nil {
					t.Errorf("the event cannot be read again: %v", err)
				}
			}
		})
	}
}

func TestRefusalSaysNothingOfTheRecord(t *testing.T) {
	t.Parallel()
	m := newMapper(t, Options{})
	for _, raw := range []string{`{"secret":`, `{"Id":"secret"}`, `{"CreationTime":"secret","Id":"secret"}`, `{"CreationTime":"2026-03-02T08:00:00","secret":1}`} {
		_, err := m.Map(nil, recordOf([]byte(raw), "Audit.General"), 1)
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %v", raw, err)
		}
	}
}
