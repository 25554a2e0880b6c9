package ocsf

import (
	"crypto/md5"  //nolint:gosec // to check hashes that an event states
	"crypto/sha1" //nolint:gosec // to check hashes that an event states
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

// Problem is one thing that is wrong with an event. A Warning does not make it invalid.
type Problem struct {
	Warning bool
	Code    string // as the schema's own server names it, where it does
	Path    string // of the attribute, as in actor.user.uid; "" = the event
	Message string
}

// String writes the problem on one line.
func (p Problem) String() string {
	level := "error"
	if p.Warning {
		level = "warning"
	}
	return level + "\t" + p.Code + "\t" + p.Path + "\t" + p.Message
}

// Validate judges an event by the schema: class, required and unknown attributes, profiles, types, ranges, enums and captions,
// constraints, observables, hash and size of the raw record, nulls and repeated keys. unmapped may hold anything. An event is valid
// when no Problem is more than a Warning.
func Validate(event []byte) []Problem {
	v := &validator{}
	root, err := parseTree(event)
	switch {
	case errors.Is(err, errDuplicateKey):
		v.err("event_duplicate_key", "", "%v", err)
	case err != nil:
		v.err("event_not_json", "", "%v", err)
	case root.kind != '{':
		v.err("event_not_object", "", "the event is not a JSON object")
	default:
		v.event(root)
	}
	return v.problems
}

// Valid reports whether an event has no error, and gives the first one.
func Valid(event []byte) (Problem, bool) {
	for _, p := range Validate(event) {
		if !p.Warning {
			return p, false
		}
	}
	return Problem{}, true
}

type validator struct {
	problems []Problem
	class    *classInfo
	owner    *ownerDef
	profiles []string
}

func (v *validator) err(code, path, format string, args ...any) {
	v.problems = append(v.problems, Problem{Code: code, Path: path, Message: fmt.Sprintf(format, args...)})
}

func (v *validator) warn(code, path, format string, args ...any) {
	v.problems = append(v.problems, Problem{Warning: true, Code: code, Path: path, Message: fmt.Sprintf(format, args...)})
}

func (v *validator) event(root *node) {
	uid := root.get("class_uid")
	if uid == nil || uid.kind == 'n' {
		v.err("attribute_required_missing", "class_uid", "required attribute is missing")
		return
	}
	number, ok := uid.integer()
	if !ok {
		v.err("attribute_wrong_type", "class_uid", "expected integer_t, got %s", uid)
		return
	}
	if v.class = Class(number).info(); v.class == nil {
		v.err("class_uid_unknown", "class_uid", "no class %d in this schema extract", number)
		return
	}
	v.owner = schemaOwners[v.class.name]
	v.readProfiles(root.get("metadata").get("profiles"))
	v.version(root.get("metadata").get("version"))
	v.attributes(root, v.owner, "")
	v.constraints(root, v.owner, "")
	v.typeUID(root)
	v.observables(root)
	v.raw(root)
}

func (v *validator) readProfiles(list *node) {
	if list == nil || list.kind != '[' {
		return
	}
	for i, p := range list.list {
		path := fmt.Sprintf("metadata.profiles[%d]", i)
		switch {
		case p.kind != '"' || !slices.Contains(schemaProfiles, p.text):
			v.err("profile_unknown", path, "profile %s is not in the schema", p)
		case !slices.Contains(v.class.profiles, p.text):
			v.err("profile_not_applicable", path, "profile %s does not apply to %s", p, v.class.name)
		}
		if p.kind == '"' {
			v.profiles = append(v.profiles, p.text)
		}
	}
}

var semver = regexp.MustCompile(`^(\d{1,9})\.(\d{1,9})\.(\d{1,9})(-.+)?$`)

func (v *validator) version(n *node) {
	if n == nil || n.kind != '"' {
		return // missing or mistyped is reported with the attributes
	}
	const path = "metadata.version"
	m := semver.FindStringSubmatch(n.text)
	if m == nil {
		v.err("version_invalid_format", path, "%s is not a semantic version", n)
		return
	}
	if m[4] != "" {
		v.err("version_incompatible_prerelease", path, "%s is a pre-release", n)
		return
	}
	ours := semver.FindStringSubmatch(Version)
	for i := 1; i <= 3; i++ {
		a, _ := strconv.Atoi(m[i]) // digits, by the pattern
		b, _ := strconv.Atoi(ours[i])
		if a > b {
			v.err("version_incompatible_later", path, "%s is later than %s", n, Version)
			return
		}
		if a < b {
			v.warn("version_earlier", path, "%s is earlier than %s", n, Version)
			return
		}
	}
}

// enum is the enum of an attribute. Those of the three numbers that classify an event are not in the table, because they follow
// from the class.
func (v *validator) enum(a *attributeDef) enumSet {
	if a.enum != nil || a.sibling == "" {
		return a.enum
	}
	c := v.class
	one := func(id int, caption string) enumSet {
		return enumSet{{id: id, key: strconv.Itoa(id), caption: caption}}
	}
	switch a.name {
	case "class_uid":
		return one(c.uid, c.caption)
	case "category_uid":
		return one(c.category, c.categoryName)
	case "type_uid":
		set := make(enumSet, 0, len(*c.activity))
		for _, value := range *c.activity {
			set = append(set, one(c.uid*100+value.id, c.caption+": "+value.caption)...)
		}
		return set
	}
	return nil
}

func (v *validator) typeUID(root *node) {
	typ, ok1 := root.get("type_uid").integer()
	activity, ok2 := root.get("activity_id").integer()
	if want := int64(v.class.uid)*100 + activity; ok1 && ok2 && typ != want {
		v.err("type_uid_incorrect", "type_uid", "%d, expected %d", typ, want)
	}
}

func (v *validator) active(a *attributeDef) bool {
	return len(a.profiles) == 0 || slices.ContainsFunc(a.profiles, func(p string) bool { return slices.Contains(v.profiles, p) })
}

func (o *ownerDef) find(name string) *attributeDef {
	i, ok := slices.BinarySearchFunc(o.attributes, name, func(a attributeDef, name string) int { return strings.Compare(a.name, name) })
	if !ok {
		return nil
	}
	return &o.attributes[i]
}

func join(at, name string) string {
	if at == "" {
		return name
	}
	return at + "." + name
}

func (v *validator) attributes(obj *node, owner *ownerDef, at string) {
	for _, m := range obj.members {
		path := join(at, m.name)
		a := owner.find(m.name)
		if a == nil {
			v.err("attribute_unknown", path, "not an attribute of this class or object")
			continue
		}
		if !v.active(a) {
			v.err("attribute_profile_missing", path, "needs metadata.profiles to name %s", strings.Join(a.profiles, " or "))
		}
		if a.deprecated != "" {
			v.warn("attribute_deprecated", path, "deprecated since %s", a.deprecated)
		}
		v.member(m.value, a, path)
	}
	for i := range owner.attributes {
		if a := &owner.attributes[i]; a.req == 'q' && v.active(a) && obj.get(a.name) == nil {
			v.err("attribute_required_missing", join(at, a.name), "required attribute is missing")
		}
	}
	v.siblings(obj, owner, at)
}

func (v *validator) member(n *node, a *attributeDef, path string) {
	switch {
	case n.kind == 'n':
		v.err("attribute_null", path, "null: leave the attribute out instead")
	case !a.list:
		v.value(n, a, path)
	case n.kind != '[':
		v.err("attribute_wrong_type", path, "expected an array of %s", a.label())
	default:
		for i, e := range n.list {
			v.value(e, a, fmt.Sprintf("%s[%d]", path, i))
		}
	}
}

func (a *attributeDef) label() string {
	if a.object != "" {
		return a.object
	}
	return a.typ
}

func (v *validator) value(n *node, a *attributeDef, path string) {
	if n.kind == 'n' {
		v.err("attribute_null", path, "null")
		return
	}
	if a.object != "" {
		v.object(n, a, path)
		return
	}
	if !v.scalar(n, a.typ, path) {
		return
	}
	enum := v.enum(a)
	if enum == nil {
		return
	}
	value, ok := enum.find(n.text)
	switch {
	case !ok:
		v.err("attribute_enum_value_unknown", path, "%s is not one of the enum's %d values", n, len(enum))
	case value.deprecated != "":
		v.warn("attribute_enum_value_deprecated", path, "%s is deprecated since %s", n, value.deprecated)
	}
}

func (s enumSet) find(key string) (enumValue, bool) {
	for _, v := range s {
		if v.key == key {
			return v, true
		}
	}
	return enumValue{}, false
}

func (v *validator) object(n *node, a *attributeDef, path string) {
	if n.kind != '{' {
		v.err("attribute_wrong_type", path, "expected object %s", a.object)
		return
	}
	if a.object == "object" {
		return // free form: unmapped, xattributes
	}
	o := schemaOwners[a.object]
	if o.deprecated != "" {
		v.warn("object_deprecated", path, "object %s is deprecated since %s", a.object, o.deprecated)
	}
	v.attributes(n, o, path)
	v.constraints(n, o, path)
}

func (v *validator) scalar(n *node, name, path string) bool {
	t := schemaTypes[name]
	integer, isInt := n.integer()
	ok := false
	switch t.base {
	case "boolean_t":
		ok = n.kind == 't'
	case "integer_t", "long_t":
		ok = isInt
	case "float_t":
		ok = n.kind == '0'
	case "string_t":
		ok = n.kind == '"'
	case "json_t":
		ok = true
	}
	if !ok {
		v.err("attribute_wrong_type", path, "expected %s, got %s", name, n)
		return false
	}
	if t.ranged && (integer < t.low || integer > t.high) {
		v.err("attribute_value_exceeds_range", path, "%s is outside %d to %d", n, t.low, t.high)
	}
	if count := utf8.RuneCountInString(n.text); t.maxLen > 0 && count > t.maxLen {
		v.err("attribute_value_exceeds_max_len", path, "%d characters, at most %d", count, t.maxLen)
	}
	if t.regex != "" && !patterns()[name].MatchString(n.text) {
		v.warn("attribute_value_regex_not_matched", path, "%s does not look like %s", n, name)
	}
	return true
}

// patterns are the compiled regular expressions of the scalar types.
var patterns = sync.OnceValue(func() map[string]*regexp.Regexp {
	m := map[string]*regexp.Regexp{}
	for name, t := range schemaTypes {
		if t.regex != "" {
			m[name] = regexp.MustCompile(t.regex)
		}
	}
	return m
})

func (v *validator) siblings(obj *node, owner *ownerDef, at string) {
	for i := range owner.attributes {
		a := &owner.attributes[i]
		n := obj.get(a.name)
		enum := v.enum(a)
		if a.sibling == "" || enum == nil || n == nil {
			continue
		}
		path, caption := join(at, a.sibling), obj.get(a.sibling)
		if caption != nil && caption.kind == 'n' {
			caption = nil // reported as a null
		}
		if n.kind != '[' {
			v.sibling(a, enum, n, caption, path)
			continue
		}
		if caption == nil {
			continue
		}
		if caption.kind != '[' || len(caption.list) != len(n.list) {
			v.err("attribute_enum_array_sibling_missing", path, "needs one caption for each value")
			continue
		}
		for i, e := range n.list {
			v.sibling(a, enum, e, caption.list[i], path)
		}
	}
}

func (v *validator) sibling(a *attributeDef, enum enumSet, n, caption *node, path string) {
	want, ok := enum.find(n.text)
	switch {
	case !ok: // reported with the value
	case n.text != "99":
		if caption != nil && (caption.kind != '"' || caption.text != want.caption) {
			v.err("attribute_enum_sibling_incorrect", path, "%s, expected %q for %s %s", caption, want.caption, a.name, n)
		}
	case caption == nil:
		v.warn("attribute_enum_sibling_missing_other", path, "%s is 99, so %s should carry the source's own value", a.name, a.sibling)
	default:
		if _, known := enum.value(caption.text); known {
			v.warn("attribute_enum_sibling_suspicious_other", path, "%s is 99 but %s is a known caption", a.name, caption)
		}
	}
}

func (v *validator) constraints(obj *node, owner *ownerDef, at string) {
	for _, c := range owner.constraints {
		n := 0
		for _, name := range c.names {
			if present(obj, name) {
				n++
			}
		}
		if c.kind == "at_least_one" && n < 1 || c.kind == "just_one" && n != 1 {
			v.err("constraint_failed", at, "%s of %s: found %d", c.kind, strings.Join(c.names, ", "), n)
		}
	}
}

func present(obj *node, dotted string) bool {
	for part := range strings.SplitSeq(dotted, ".") {
		if obj = obj.get(part); obj == nil || obj.kind == 'n' {
			return false
		}
	}
	return true
}

func (v *validator) raw(root *node) {
	data := root.get("raw_data")
	if data == nil || data.kind != '"' {
		return
	}
	if n, ok := root.get("raw_data_size").integer(); ok && n != int64(len(data.text)) {
		v.err("raw_data_size_incorrect", "raw_data_size", "%d, expected %d bytes", n, len(data.text))
	}
	h := root.get("raw_data_hash")
	algorithm, ok := h.get("algorithm_id").integer()
	if !ok {
		return
	}
	var want string
	switch b := []byte(data.text); algorithm {
	case FingerprintAlgorithmMD5:
		sum := md5.Sum(b) //nolint:gosec // see the import
		want = hex.EncodeToString(sum[:])
	case FingerprintAlgorithmSHA1:
		sum := sha1.Sum(b) //nolint:gosec // see the import
		want = hex.EncodeToString(sum[:])
	case FingerprintAlgorithmSHA256:
		sum := sha256.Sum256(b)
		want = hex.EncodeToString(sum[:])
	case FingerprintAlgorithmSHA512:
		sum := sha512.Sum512(b)
		want = hex.EncodeToString(sum[:])
	default:
		return
	}
	if got := h.get("value"); got == nil || !strings.EqualFold(got.text, want) {
		v.err("raw_data_hash_incorrect", "raw_data_hash.value", "expected %s", want)
	}
}
