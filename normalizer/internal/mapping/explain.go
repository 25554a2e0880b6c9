package mapping

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"millrace/pkg/audit"
	"millrace/pkg/ocsf"
)

// Explanation says how a record became its first event. It is made for people who write rules, in the plain way and not for speed.
type Explanation struct {
	Rule     string // what chose class and activity
	Class    string
	Activity string
	Sources  []Source // in the order of the attributes' paths
}

// Source says where an attribute of the event came from.
type Source struct {
	Attribute string // path on the event
	Value     string
	Fields    []string // paths in the record that hold the value; none = derived from other fields, from the provenance, or fixed
}

// Explain maps a record and says what came from where. The error is that of Map.
func (m *Mapper) Explain(rec audit.Record, digest uint64) (Explanation, error) {
	events, err := m.Map(nil, rec, digest)
	if err != nil {
		return Explanation{}, err
	}
	var record struct {
		Operation, RecordType, Workload any
	}
	var all, event map[string]any
	for raw, into := range map[*[]byte][]any{&rec.Raw: {&record, &all}, &events[0].Value: {&event}} {
		for _, v := range into {
			if err := json.Unmarshal(*raw, v); err != nil {
				return Explanation{}, fmt.Errorf("read what was mapped: %w", err)
			}
		}
	}
	class := ocsf.Class(events[0].ClassUID)
	activity, _ := class.Activity(events[0].ActivityID)
	e := Explanation{
		Rule:     m.ruleText(events[0].RecordType, operation(plain(record.Operation), events[0].RecordType, plain(record.Workload))),
		Class:    fmt.Sprintf("%d %s", class, class.Caption()),
		Activity: fmt.Sprintf("%d %s", events[0].ActivityID, activity),
	}
	fields := map[string][]string{}
	eachLeaf("", all, func(path, text string) { fields[text] = append(fields[text], path) })
	for _, left := range []string{"unmapped", "observables", "raw_data"} {
		delete(event, left)
	}
	eachLeaf("", event, func(path, text string) {
		e.Sources = append(e.Sources, Source{Attribute: path, Value: text, Fields: fields[text]})
	})
	return e, nil
}

// ruleText names the row that decided.
func (m *Mapper) ruleText(recordType int, op string) string {
	v := m.tables.judge(recordType, op)
	typ := m.tables.types[recordType]
	switch {
	case v.row != nil:
		return fmt.Sprintf("operations.csv line %d: %s", v.row.line, v.row.pattern)
	case typ != nil:
		return fmt.Sprintf("recordtypes.csv: %d %s", recordType, typ.name)
	}
	return "neither operation nor record type is known: API Activity, by verb"
}

// plain is the text of a scalar that was decoded.
func plain(v any) string {
	switch v := v.(type) {
	case nil, map[string]any, []any:
		return ""
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	default:
		return fmt.Sprint(v)
	}
}

// eachLeaf calls f for each scalar, members in the order of their names.
func eachLeaf(path string, v any, f func(path, text string)) {
	switch v := v.(type) {
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			eachLeaf(strings.TrimPrefix(path+"."+k, "."), v[k], f)
		}
	case []any:
		for i, x := range v {
			eachLeaf(path+"["+strconv.Itoa(i)+"]", x, f)
		}
	case nil:
	default:
		f(path, plain(v))
	}
}

// WriteTo writes the explanation as lines of text: attribute, value, and the fields behind an arrow.
func (e Explanation) WriteTo(w io.Writer) (int64, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "rule      %s\nclass     %s\nactivity  %s\n", e.Rule, e.Class, e.Activity)
	for _, s := range e.Sources {
		from := "derived"
		if len(s.Fields) > 0 {
			from = strings.Join(s.Fields, ", ")
		}
		fmt.Fprintf(&b, "%s = %s  ←  %s\n", s.Attribute, s.Value, from)
	}
	n, err := io.WriteString(w, b.String())
	return int64(n), err
}
