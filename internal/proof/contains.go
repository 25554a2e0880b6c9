package proof

import (
	"bytes"
	"strconv"

	"github.com/go-faster/jx"
)

// contains reports whether the JSON value whole has everything that part has: each member of an object with a value that contains
// the part's, each element of a list in order from the first, equal scalars. If not, the path of the first difference is returned.
func contains(whole, part []byte) (path string, ok bool) {
	return containsAt("", bytes.TrimSpace(whole), bytes.TrimSpace(part))
}

func containsAt(path string, whole, part []byte) (string, bool) {
	switch {
	case bytes.Equal(whole, part):
		return "", true
	case len(whole) == 0 || len(part) == 0 || whole[0] != part[0]:
		return path, false
	case part[0] == '{':
		return containsMembers(path, whole, part)
	case part[0] == '[':
		return containsElements(path, whole, part)
	}
	return path, false
}

func containsMembers(path string, whole, part []byte) (string, bool) {
	w, err := members(whole)
	if err != nil {
		return path, false
	}
	p, err := members(part)
	if err != nil {
		return path, false
	}
	next := 0 // members keep their order, so the one looked for is mostly the next one
	for _, m := range p {
		at := find(w, next, m.name)
		if at < 0 {
			return path + "." + string(m.name), false
		}
		if diff, ok := containsAt(path+"."+string(m.name), w[at].value, m.value); !ok {
			return diff, false
		}
		next = at + 1
	}
	return "", true
}

type member struct{ name, value []byte }

func find(in []member, from int, name []byte) int {
	for i := range in {
		at := (from + i) % len(in)
		if bytes.Equal(in[at].name, name) {
			return at
		}
	}
	return -1
}

func members(object []byte) ([]member, error) {
	var list []member
	err := jx.DecodeBytes(object).ObjBytes(func(d *jx.Decoder, key []byte) error {
		name := bytes.Clone(key)
		value, err := d.Raw()
		list = append(list, member{name, bytes.TrimSpace(value)})
		return err
	})
	return list, err
}

func containsElements(path string, whole, part []byte) (string, bool) {
	w, err := elements(whole)
	if err != nil {
		return path, false
	}
	p, err := elements(part)
	if err != nil || len(w) < len(p) {
		return path, false
	}
	for i := range p {
		if at, ok := containsAt(path+"["+strconv.Itoa(i)+"]", w[i], p[i]); !ok {
			return at, false
		}
	}
	return "", true
}

func elements(list []byte) ([][]byte, error) {
	var all [][]byte
	err := jx.DecodeBytes(list).Arr(func(d *jx.Decoder) error {
		value, err := d.Raw()
		all = append(all, bytes.TrimSpace(value))
		return err
	})
	return all, err
}
