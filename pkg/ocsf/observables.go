package ocsf

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

var pathSegment = regexp.MustCompile(`^([A-Za-z0-9_]+)((?:\[\d*\])*)$`)

var pathIndex = regexp.MustCompile(`\[(\d*)\]`)

// step is one name of a path with its selectors; -1 selects all elements.
type step struct {
	name    string
	indexes []int
}

// parsePath reads a path as observables have it: names with dots between them, elements of lists in brackets.
func parsePath(name string) ([]step, bool) {
	var steps []step
	for segment := range strings.SplitSeq(name, ".") {
		m := pathSegment.FindStringSubmatch(segment)
		if m == nil {
			return nil, false
		}
		s := step{name: m[1]}
		for _, sel := range pathIndex.FindAllStringSubmatch(m[2], -1) {
			n := -1
			if sel[1] != "" {
				var err error
				if n, err = strconv.Atoi(sel[1]); err != nil {
					return nil, false
				}
			}
			s.indexes = append(s.indexes, n)
		}
		steps = append(steps, s)
	}
	return steps, true
}

// follow are the values at a path.
func follow(root *node, steps []step) []*node {
	nodes := []*node{root}
	for _, s := range steps {
		var next []*node
		for _, n := range nodes {
			for _, x := range flatten(n) {
				if v := x.get(s.name); v != nil {
					next = append(next, v)
				}
			}
		}
		for _, index := range s.indexes {
			var elements []*node
			for _, n := range next {
				switch {
				case n.kind != '[':
				case index < 0:
					elements = append(elements, n.list...)
				case index < len(n.list):
					elements = append(elements, n.list[index])
				}
			}
			next = elements
		}
		if len(next) == 0 {
			return nil
		}
		nodes = next
	}
	flat := []*node{} // not nil: the path exists, even where its list is empty
	for _, n := range nodes {
		flat = append(flat, flatten(n)...)
	}
	return flat
}

func flatten(n *node) []*node {
	if n.kind == '[' {
		return n.list
	}
	return []*node{n}
}

// leaf is the attribute at a path of the class, or nil.
func (v *validator) leaf(steps []step) *attributeDef {
	owner := v.owner
	var a *attributeDef
	for _, s := range steps {
		if owner == nil {
			return nil
		}
		if a = owner.find(s.name); a == nil {
			return nil
		}
		owner = schemaOwners[a.object]
	}
	return a
}

// kinds are the observable types that the schema gives an attribute.
func (a *attributeDef) kinds() []int {
	if a.object != "" {
		if o := schemaOwners[a.object]; o != nil {
			return o.observable
		}
		return nil
	}
	var k []int
	if a.observable != 0 {
		k = append(k, a.observable)
	}
	if t := schemaTypes[a.typ]; t.observable != 0 {
		k = append(k, t.observable)
	}
	return k
}

// observables checks that each points at something, with the right type and value.
func (v *validator) observables(root *node) {
	list := root.get("observables")
	if list == nil || list.kind != '[' {
		return
	}
	for i, o := range list.list {
		if name := o.get("name"); name != nil && name.kind == '"' {
			v.observable(root, o, name.text, fmt.Sprintf("observables[%d]", i))
		}
	}
}

func (v *validator) observable(root, o *node, name, path string) {
	steps, ok := parsePath(name)
	var got []*node
	if ok {
		got = follow(root, steps)
	}
	if got == nil {
		v.err("observable_name_invalid_reference", path+".name", "%q is not in the event", name)
		return
	}
	a := v.leaf(steps)
	if a == nil {
		if steps[0].name != "unmapped" {
			v.err("observable_name_invalid_reference", path+".name", "%q is not in the class", name)
		}
		return
	}
	if kind, ok := o.get("type_id").integer(); ok && kind != 0 && kind != Other && !slices.Contains(a.kinds(), int(kind)) {
		v.warn("observable_type_unexpected", path+".type_id", "%d for %s; the schema defines %v", kind, name, a.kinds())
	}
	if a.object != "" {
		return
	}
	value := o.get("value")
	if value == nil || value.kind == 'n' {
		v.err("observable_value_missing", path, "a scalar observable needs its value")
		return
	}
	if !slices.ContainsFunc(got, func(n *node) bool { return n.text == value.text }) {
		v.err("observable_value_not_found", path+".value", "%s is not the value at %s", value, name)
	}
}
