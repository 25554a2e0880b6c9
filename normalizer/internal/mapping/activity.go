package mapping

import (
	"strings"
	"unicode"

	"millrace/pkg/ocsf"
)

// ruleKey is what a verdict depends on.
type ruleKey struct {
	recordType int
	op         string
}

// verdict is what the tables say of a record type and an operation.
type verdict struct {
	class     ocsf.Class
	activity  ocsf.Enum
	resource  string
	privilege string
	typeName  string // name of the record type
	row       *operationRow
}

const (
	maxRules     = 8192 // verdicts that a worker remembers; then it starts anew, so that made-up operations cannot fill memory
	maxOperation = 256  // bytes of an operation that patterns are tried on; the longest known has 92
)

// operation is the Operation as the tables have it: without surrounding blanks; directory operations also lose their full stop.
func operation(s string, recordType int, workload string) string {
	s = strings.TrimSpace(s)
	if recordType == 8 || recordType == 9 || recordType == 15 || workload == "AzureActiveDirectory" {
		s = strings.TrimSpace(strings.TrimSuffix(s, "."))
	}
	return s
}

// lookup finds the verdict for a record type and an operation.
func (w *worker) lookup(recordType int, op string) *verdict {
	if v, ok := w.rules[ruleKey{recordType, op}]; ok {
		return v
	}
	v := w.tables.judge(recordType, strings.Clone(op))
	if len(op) <= maxOperation {
		if len(w.rules) >= maxRules {
			clear(w.rules)
		}
		w.rules[ruleKey{recordType, strings.Clone(op)}] = v
	}
	return v
}

// judge applies the order of the mapping: operation, then record type, then API Activity.
func (t *tables) judge(recordType int, op string) *verdict {
	v := &verdict{class: ocsf.ClassAPIActivity}
	activity := byVerb
	typ := t.types[recordType]
	if typ != nil {
		v.class, activity, v.resource, v.typeName = typ.class, typ.activity, typ.resource, typ.name
	}
	if op == "" {
		v.activity = ocsf.Value(0)
		return v
	}
	if len(op) <= maxOperation {
		if row := t.match(recordType, strings.ToLower(op)); row != nil {
			v.row, v.class, activity, v.privilege = row, row.class, row.activity, row.privilege
			if row.resource != "" || typ == nil || typ.class != row.class {
				v.resource = row.resource
			}
		}
	}
	n := ocsf.Other
	switch activity {
	case byVerb:
		if len(op) <= maxOperation {
			n = t.verbActivity(v.class, op)
		}
	case finding:
		n = 1
	case byRule:
	default:
		n = activity
	}
	v.activity = activityOf(v.class, n, op)
	return v
}

// activityOf is the activity n; behind 99 stands the operation, unless it is the very caption of an activity.
func activityOf(class ocsf.Class, n int, op string) ocsf.Enum {
	if n != ocsf.Other {
		return ocsf.Value(n)
	}
	if id, ok := class.ActivityOf(op); ok && id != 0 {
		return ocsf.Value(id)
	}
	return ocsf.OtherValue(op)
}

// verb is a row of schemas/ocsf/verbs.csv.
type verb struct {
	name                             string
	entity, resource, api, datastore int
}

func (t *tables) addVerb(r []string) error {
	v := &verb{name: r[0]}
	for i, col := range []struct {
		class ocsf.Class
		into  *int
	}{
		{ocsf.ClassEntityManagement, &v.entity},
		{ocsf.ClassWebResourcesActivity, &v.resource},
		{ocsf.ClassAPIActivity, &v.api},
		{ocsf.ClassDatastoreActivity, &v.datastore},
	} {
		n, err := parseActivity(r[2+i], col.class)
		if err != nil {
			return err
		}
		*col.into = n
	}
	for w := range strings.FieldsSeq(r[1]) {
		t.verbs[w] = v
	}
	return nil
}

// verbActivity reads the activity from the words of the operation: a past participle at the beginning or the end wins, then the
// first word, the last, and those between that are not also nouns. 99 when no word is a verb.
func (t *tables) verbActivity(class ocsf.Class, op string) int {
	words := splitWords(op)
	if len(words) == 0 {
		return ocsf.Other
	}
	first, last := words[0], words[len(words)-1]
	var found *verb
	for _, w := range []string{first, last} {
		if found == nil && isParticiple(w) {
			found = t.verbs[w]
		}
	}
	if found == nil {
		found = t.verbs[first]
	}
	if found == nil {
		found = t.verbs[last]
	}
	for i := 1; found == nil && i < len(words)-1; i++ {
		if !isNoun(words[i]) {
			found = t.verbs[words[i]]
		}
	}
	if found == nil {
		return ocsf.Other
	}
	return found.in(class, op)
}

// in is the verb's activity in a class.
func (v *verb) in(class ocsf.Class, op string) int {
	switch class {
	case ocsf.ClassEntityManagement:
		return v.entity
	case ocsf.ClassWebResourcesActivity:
		return v.resource
	case ocsf.ClassAPIActivity:
		return v.api
	case ocsf.ClassDatastoreActivity:
		return v.datastore
	case ocsf.ClassUserAccess:
		return v.pick(map[string]int{
			"create": ocsf.UserAccessAssignPrivileges, "update": ocsf.UserAccessAssignPrivileges,
			"share": ocsf.UserAccessAssignPrivileges, "delete": ocsf.UserAccessRevokePrivileges,
		})
	case ocsf.ClassGroupManagement:
		if strings.Contains(strings.ToLower(op), "member") {
			return v.pick(map[string]int{"create": ocsf.GroupManagementAddUser, "delete": ocsf.GroupManagementRemoveUser})
		}
		return v.pick(map[string]int{"create": ocsf.GroupManagementCreate, "delete": ocsf.GroupManagementDelete})
	case ocsf.ClassAccountChange:
		return v.pick(map[string]int{
			"create": ocsf.AccountChangeCreate, "delete": ocsf.AccountChangeDelete, "enable": ocsf.AccountChangeEnable,
			"activate": ocsf.AccountChangeEnable, "resume": ocsf.AccountChangeEnable, "disable": ocsf.AccountChangeDisable,
			"deactivate": ocsf.AccountChangeDisable, "suspend": ocsf.AccountChangeDisable,
		})
	default: // no row of the tables leaves these to the verb
		return ocsf.Other
	}
}

func (v *verb) pick(activities map[string]int) int {
	if n, ok := activities[v.name]; ok {
		return n
	}
	return ocsf.Other
}

// isParticiple reports whether a word is a past participle, as far as the vocabulary has them.
func isParticiple(w string) bool {
	return strings.HasSuffix(w, "ed") || w == "sent" || w == "set" || w == "put"
}

// isNoun reports whether a verb of the vocabulary is so often a noun that it says nothing between other words.
func isNoun(w string) bool {
	switch w {
	case "access", "change", "copy", "creation", "deletion", "export", "import", "install", "list", "move", "off", "on", "open", "patch",
		"pause", "post", "preview", "print", "purge", "query", "read", "save", "search", "switch", "test", "view":
		return true
	}
	return false
}

// splitWords cuts at everything that is no letter and where lower case turns into upper case, and gives lower case.
func splitWords(s string) []string {
	var words []string
	runes := []rune(s)
	start := -1
	flush := func(end int) {
		if start >= 0 {
			words = append(words, strings.ToLower(string(runes[start:end])))
			start = -1
		}
	}
	for i, r := range runes {
		switch {
		case !unicode.IsLetter(r):
			flush(i)
			continue
		case start < 0:
			start = i
			continue
		case unicode.IsUpper(r) && unicode.IsLower(runes[i-1]),
			unicode.IsUpper(r) && i+1 < len(runes) && unicode.IsLower(runes[i+1]) && unicode.IsUpper(runes[i-1]):
			flush(i)
			start = i
		}
	}
	flush(len(runes))
	return words
}
