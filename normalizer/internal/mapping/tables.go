package mapping

import (
	"encoding/csv"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"millrace/pkg/ocsf"
	"millrace/schemas"
)

// The words that stand for an activity in the tables.
const (
	byVerb  = -1 // the operation's words decide
	byRule  = -2 // only rows of the operations decide, else 99
	finding = -3 // 1 unless a row of the operations says otherwise
)

// recordTypeRow is a row of schemas/ocsf/recordtypes.csv.
type recordTypeRow struct {
	number   int
	name     string
	class    ocsf.Class
	activity int
	resource string
}

// operationRow is a row of schemas/ocsf/operations.csv; the first that fits wins.
type operationRow struct {
	line      int
	pattern   string // lower case
	class     ocsf.Class
	activity  int
	resource  string
	privilege string
}

// tables are the compiled tables of facts; nothing changes them after loadTables.
type tables struct {
	types  map[int]*recordTypeRow
	byName map[string]int // lower-case name of a record type
	rows   []operationRow
	any    rowSet // rows for every record type
	sets   map[int]*rowSet
	verbs  map[string]*verb
	known  map[string]string // texts that are often kept beyond a record
}

// rowSet are the rows that can fit a record type: whole names by name, patterns in order.
type rowSet struct {
	exact    map[string]int
	patterns []int
}

func loadTables() (*tables, error) {
	t := &tables{
		types: map[int]*recordTypeRow{}, byName: map[string]int{}, sets: map[int]*rowSet{}, verbs: map[string]*verb{},
		known: map[string]string{},
	}
	for name, row := range map[string]func([]string) error{
		"recordtypes": t.addRecordType, "operations": t.addOperation, "verbs": t.addVerb,
	} {
		if err := readTable(name, row); err != nil {
			return nil, err
		}
	}
	t.compile()
	return t, nil
}

func readTable(name string, row func([]string) error) error {
	f, err := schemas.OCSF.Open("ocsf/" + name + ".csv")
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		return fmt.Errorf("read %s.csv: %w", name, err)
	}
	for i, r := range rows[1:] {
		if err := row(r); err != nil {
			return fmt.Errorf("%s.csv line %d: %w", name, i+2, err)
		}
	}
	return nil
}

func parseClass(s string) (ocsf.Class, error) {
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0, err
	}
	if c := ocsf.Class(n); c.Known() {
		return c, nil
	}
	return 0, fmt.Errorf("class %s is not emitted", s)
}

func parseActivity(s string, class ocsf.Class) (int, error) {
	switch s {
	case "verb":
		return byVerb, nil
	case "table":
		return byRule, nil
	case "finding":
		return finding, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0, err
	}
	if _, ok := class.Activity(n); !ok {
		return 0, fmt.Errorf("class %d has no activity %d", class, n)
	}
	return n, nil
}

func (t *tables) addRecordType(r []string) error {
	n, err := strconv.Atoi(r[0])
	if err != nil {
		return err
	}
	class, err := parseClass(r[2])
	if err != nil {
		return err
	}
	activity, err := parseActivity(r[3], class)
	if err != nil {
		return err
	}
	t.types[n] = &recordTypeRow{number: n, name: r[1], class: class, activity: activity, resource: r[4]}
	t.byName[strings.ToLower(r[1])] = n
	return nil
}

func (t *tables) addOperation(r []string) error {
	class, err := parseClass(r[2])
	if err != nil {
		return err
	}
	activity, err := parseActivity(r[3], class)
	if err != nil {
		return err
	}
	i := len(t.rows)
	t.rows = append(t.rows, operationRow{
		line: i + 2, pattern: strings.ToLower(r[1]), class: class, activity: activity, resource: r[4], privilege: r[5],
	})
	if r[0] == "*" {
		t.any.add(i, t.rows[i].pattern)
		return nil
	}
	for field := range strings.FieldsSeq(r[0]) {
		n, err := strconv.Atoi(field)
		if err != nil {
			return err
		}
		if t.sets[n] == nil {
			t.sets[n] = &rowSet{}
		}
		t.sets[n].add(i, t.rows[i].pattern)
	}
	return nil
}

func (s *rowSet) add(i int, pattern string) {
	if strings.ContainsAny(pattern, "*?[") {
		s.patterns = append(s.patterns, i)
		return
	}
	if s.exact == nil {
		s.exact = map[string]int{}
	}
	if _, ok := s.exact[pattern]; !ok {
		s.exact[pattern] = i
	}
}

// compile merges the rows for every record type into those of each.
func (t *tables) compile() {
	for _, s := range t.sets {
		for name, i := range t.any.exact {
			if old, ok := s.exact[name]; !ok || i < old {
				if s.exact == nil {
					s.exact = map[string]int{}
				}
				s.exact[name] = i
			}
		}
		s.patterns = append(s.patterns, t.any.patterns...)
		slices.Sort(s.patterns)
	}
	for w, s := range serviceNames {
		t.known[w], t.known[s] = w, s
	}
}

// match is the first row that fits, or nil. The operation is in lower case.
func (t *tables) match(recordType int, op string) *operationRow {
	s := t.sets[recordType]
	if s == nil {
		s = &t.any
	}
	first, found := s.exact[op]
	for _, i := range s.patterns {
		if found && i > first {
			break
		}
		if glob(t.rows[i].pattern, op) {
			first, found = i, true
			break
		}
	}
	if !found {
		return nil
	}
	return &t.rows[first]
}

// recordType reads the number of a record type; some exports write its name. -1 when there is none.
func (t *tables) recordType(s string) int {
	s = strings.TrimSpace(s)
	if n, err := strconv.Atoi(s); err == nil {
		if n < 0 || n > 1<<31-1 {
			return -1
		}
		return n
	}
	if len(s) > 0 && len(s) < 128 {
		if n, ok := t.byName[strings.ToLower(s)]; ok {
			return n
		}
	}
	return -1
}

// intern is s as a string that may be kept.
func (t *tables) intern(s string) string {
	if k, ok := t.known[s]; ok {
		return k
	}
	return strings.Clone(s)
}

// glob matches a shell pattern of * and ? against text; ? stands for one character.
func glob(pattern, s string) bool {
	p, t := []rune(pattern), []rune(s)
	star, mark, i, j := -1, 0, 0, 0
	for j < len(t) {
		switch {
		case i < len(p) && p[i] == '*':
			star, mark = i, j
			i++
		case i < len(p) && (p[i] == '?' || p[i] == t[j]):
			i++
			j++
		case star >= 0:
			mark++
			i, j = star+1, mark
		default:
			return false
		}
	}
	for i < len(p) && p[i] == '*' {
		i++
	}
	return i == len(p)
}
