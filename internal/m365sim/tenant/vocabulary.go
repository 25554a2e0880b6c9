package tenant

import (
	_ "embed"
	"strconv"
	"strings"
	"sync"
)

// vocabularyText lists what the feed can carry, a line each: T is a record type (number, content type, workload on the wire, name,
// schema), S the members of a schema with their kinds, O the operations of a record type.
//
//go:embed vocabulary.txt
var vocabularyText string

// member is one member of a schema. Kinds: s text, g GUID, d time, i integer, f fraction, b boolean, n names and values, m modified
// properties, {schema} an object; a list has a star behind.
type member struct {
	name   string
	kind   byte
	list   bool
	nested string
}

type rareType struct {
	number         int
	workload, name string
	members        []member
	operations     []string
}

// vocabulary is the parsed form.
type vocabulary struct {
	types      [numTypes][]rareType
	schemas    map[string][]member
	operations map[int][]string
}

// words is read only after it was made.
var words = sync.OnceValue(parseVocabulary)

func parseVocabulary() *vocabulary {
	v := &vocabulary{schemas: map[string][]member{}, operations: map[int][]string{}}
	var rows [][]string
	for line := range strings.Lines(vocabularyText) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		switch f[0] {
		case "T":
			rows = append(rows, f)
		case "S":
			v.schemas[f[1]] = parseMembers(f[2:])
		case "O":
			if n, err := strconv.Atoi(f[1]); err == nil {
				v.operations[n] = f[2:]
			}
		}
	}
	for _, f := range rows {
		n, err := strconv.Atoi(f[1])
		if typ := strings.Index("EXSGD", f[2]); err == nil && typ >= 0 {
			v.types[typ] = append(v.types[typ], rareType{number: n, workload: f[3], name: f[4], members: v.schemas[f[5]], operations: v.operations[n]})
		}
	}
	return v
}

func parseMembers(fields []string) []member {
	out := make([]member, 0, len(fields))
	for _, f := range fields {
		name, kind, _ := strings.Cut(f, ":")
		kind, list := strings.CutSuffix(kind, "*")
		m := member{name: name, kind: kind[0], list: list}
		if m.kind == '{' {
			m.nested = strings.Trim(kind, "{}")
		}
		out = append(out, m)
	}
	return out
}

// operation picks a frequent operation, or now and then any that the record type is known to have.
func (w *writer) operation(recordType int, frequent []string) string {
	if all := w.t.words.operations[recordType]; len(all) > 0 && w.r.chance(8) {
		return pick(&w.r, all)
	}
	return pick(&w.r, frequent)
}

// rareType picks the record type of a rare record.
func (t *Tenant) rareType(typ int, s *spec) *rareType {
	table := t.words.types[typ]
	return &table[hash(t.cfg.Seed, uint64(s.slot), uint64(s.seq))%uint64(len(table))]
}

// rare writes a record of any type that the content type may bring: the common members and those of its schema, as far as one is
// published.
func (w *writer) rare(typ int) {
	rt := w.t.rareType(typ, w.s)
	op := ""
	if len(rt.operations) > 0 {
		op = pick(&w.r, rt.operations)
	} else {
		op = pick(&w.r, []string{"Create", "Update", "Delete", "View", "Run", "Export"}) + rt.name
	}
	w.head(op, rt.number)
	if w.r.chance(2) {
		w.str("ResultStatus", pick(&w.r, []string{"Success", "Successful", "Failed", "failed", "New", "TRUE"}))
	}
	switch w.r.n(4) {
	case 0:
		w.who("", "", 4, rt.workload)
	case 1:
		w.who(`NT AUTHORITY\\SYSTEM (w3wp)`, "S-1-5-18", 3, rt.workload)
	default:
		w.who(w.u.UPN, w.u.ID, w.r.n(2)*2, rt.workload)
	}
	if w.r.chance(2) {
		w.str("ClientIP", pick(&w.r, []string{w.u.officeIP, "", "::ffff:" + w.u.officeIP, w.u.homeIP6}))
	}
	w.str("ObjectId", rt.name+"/"+strconv.Itoa(w.r.n(500)))
	if len(rt.members) > 0 {
		w.members(rt.members, 0)
		return
	}
	switch w.r.n(4) {
	case 0:
		w.raw(`,"ExtendedProperties":[{"Name":"Reason","Value":"scheduled"},{"Name":"Attempt","Value":"1"}]`)
	case 1:
		w.raw(`,"ModifiedProperties":[{"Name":"State","NewValue":"On","OldValue":"Off"}],"Data State":"Use"`)
	case 2:
		w.raw(`,"Data":"{\"kind\":\"` + rt.name + `\",\"nested\":[1,2.50,1e3,null,true]}","Score":0.0700,"Count":12345678901234567890`)
	default:
		w.raw(`,"Details":{"Level":[[],{},{"Deep":{"Er":"\ud83d\ude80"}}]}`)
	}
	w.guid("CorrelationId")
}

// maxNesting ends schemas that refer to themselves.
const maxNesting = 4

// members writes most of the members of a schema. The first one of an object follows a comma like all others; object removes it.
func (w *writer) members(list []member, depth int) {
	for i := range list {
		m := &list[i]
		if w.r.chance(6) {
			continue
		}
		w.key(m.name)
		switch {
		case w.r.chance(40):
			w.raw("null")
		case m.list:
			w.b = append(w.b, '[')
			for n := w.r.n(4); n > 0; n-- {
				w.value(m, depth)
				if n > 1 {
					w.b = append(w.b, ',')
				}
			}
			w.b = append(w.b, ']')
		default:
			w.value(m, depth)
		}
	}
}

func (w *writer) value(m *member, depth int) {
	switch m.kind {
	case 'g':
		w.b = append(w.b, '"')
		w.b = newGUID(w.r.next()).append(w.b)
		w.b = append(w.b, '"')
	case 'd':
		w.b = append(w.b, '"')
		w.stamp()
		w.b = append(w.b, '"')
	case 'i':
		w.b = strconv.AppendInt(w.b, int64(w.r.n(50)), 10)
	case 'f':
		w.raw(pick(&w.r, []string{"0", "1", "2.5", "0.0700"}))
	case 'b':
		w.b = strconv.AppendBool(w.b, w.r.chance(2))
	case 'n':
		w.raw(`[{"Name":"Reason","Value":"scheduled"},{"Name":"Owner","Value":"` + w.u.UPN + `"}]`)
	case 'm':
		w.raw(`[{"Name":"State","NewValue":"On","OldValue":"Off"}]`)
	case '{':
		w.object(m.nested, depth)
	default:
		w.b = append(w.b, '"')
		w.text(m.name)
		w.b = append(w.b, '"')
	}
}

func (w *writer) object(schema string, depth int) {
	at := len(w.b)
	w.b = append(w.b, '{')
	if depth < maxNesting {
		w.members(w.t.words.schemas[schema], depth+1)
	}
	if len(w.b) > at+1 { // the comma in front of the first member
		w.b = append(w.b[:at+1], w.b[at+2:]...)
	}
	w.b = append(w.b, '}')
}

// text writes what a member of this name would hold.
func (w *writer) text(name string) {
	has := func(part string) bool { return strings.Contains(name, part) }
	switch {
	case has("Url") || has("URL") || has("Link"):
		w.raw("https://app.supplier.example/item?id=" + strconv.Itoa(w.r.n(900)))
	case has("Email") || has("UPN") || has("Upn") || has("Sender") || has("Recipient") || has("Owner") || name == "From" || name == "To" || name == "CC" || name == "BCC":
		w.raw(w.t.users[w.r.n(len(w.t.users))].UPN)
	case strings.HasSuffix(name, "IP") || has("IpAddress"):
		w.raw(w.ip())
	case strings.HasSuffix(name, "Id") || strings.HasSuffix(name, "ID") || has("Guid"):
		w.b = newGUID(w.r.next()).append(w.b)
	case has("SHA256") || has("Sha256"):
		for range 4 {
			w.b = appendHex(w.b, w.r.next())
		}
	case has("Time") || has("Date"):
		w.stamp()
	case has("Size") || has("Count") || has("Duration"):
		w.b = strconv.AppendInt(w.b, int64(w.r.n(90_000)), 10)
	case has("Name") || has("Title") || has("Subject"):
		w.raw(pick(&w.r, subjects))
	case has("Parameters") || has("Details") || has("Data"):
		w.raw(`{\"source\":\"schedule\",\"attempt\":` + strconv.Itoa(w.r.n(9)) + `}`)
	default:
		w.raw(pick(&w.r, []string{"Enabled", "Default", "High", "Completed", "User", "InProgress", "None", "Automatic"}))
	}
}
