package ocsf

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// node is a JSON value with the order of its members kept.
type node struct {
	kind    byte   // one of { [ " 0 t n, for a truth value t
	text    string // content of a string, digits of a number, true or false
	members []namedNode
	list    []*node
}

type namedNode struct {
	name  string
	value *node
}

var errDuplicateKey = errors.New("appears twice in one object")

// maxTreeDepth bounds the nesting of an event.
const maxTreeDepth = 10_000

func parseTree(event []byte) (*node, error) {
	d := json.NewDecoder(bytes.NewReader(event))
	d.UseNumber()
	n, err := readNode(d, 0)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the event")
	}
	return n, nil
}

func readNode(d *json.Decoder, depth int) (*node, error) {
	if depth > maxTreeDepth {
		return nil, errors.New("nested too deeply")
	}
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t := t.(type) {
	case string:
		return &node{kind: '"', text: t}, nil
	case json.Number:
		return &node{kind: '0', text: t.String()}, nil
	case bool:
		return &node{kind: 't', text: strconv.FormatBool(t)}, nil
	case json.Delim:
		if t == '[' {
			return readList(d, depth)
		}
		return readObject(d, depth)
	}
	return &node{kind: 'n'}, nil
}

func readList(d *json.Decoder, depth int) (*node, error) {
	n := &node{kind: '['}
	for d.More() {
		v, err := readNode(d, depth+1)
		if err != nil {
			return nil, err
		}
		n.list = append(n.list, v)
	}
	_, err := d.Token()
	return n, err
}

func readObject(d *json.Decoder, depth int) (*node, error) {
	n := &node{kind: '{'}
	seen := map[string]bool{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, err
		}
		name, ok := t.(string)
		if !ok {
			return nil, fmt.Errorf("%v is not a member's name", t)
		}
		if seen[name] {
			return nil, fmt.Errorf("key %q %w", name, errDuplicateKey)
		}
		seen[name] = true
		v, err := readNode(d, depth+1)
		if err != nil {
			return nil, err
		}
		n.members = append(n.members, namedNode{name, v})
	}
	_, err := d.Token()
	return n, err
}

// get is a member of an object, or nil.
func (n *node) get(name string) *node {
	if n == nil || n.kind != '{' {
		return nil
	}
	for i := range n.members {
		if n.members[i].name == name {
			return n.members[i].value
		}
	}
	return nil
}

// integer is the value of a number that is written as an integer of 64 bits.
func (n *node) integer() (int64, bool) {
	if n == nil || n.kind != '0' {
		return 0, false
	}
	v, err := strconv.ParseInt(n.text, 10, 64)
	return v, err == nil
}

// String describes the value for a person, shortened.
func (n *node) String() string {
	switch n.kind {
	case '{':
		return "an object"
	case '[':
		return "a list"
	case 'n':
		return "null"
	case '"':
		return strconv.Quote(shorten(n.text))
	}
	return shorten(n.text)
}

func shorten(s string) string {
	const limit = 60
	if len(s) <= limit {
		return s
	}
	return s[:limit] + "…"
}
