// Package ocsf holds the part of the Open Cybersecurity Schema Framework, version 1.8.0, that Millrace's events use.
//
// The tables under schemas/ocsf are the source; constants, attribute types and the schema that Validate judges by are generated
// from them, so what is written and what is accepted cannot drift apart.
package ocsf

//go:generate go run ./internal/gen ../../schemas/ocsf .

import "slices"

// Version is the version of the schema that events name in metadata.version.
const Version = "1.8.0"

// Class is the number of an event class, class_uid.
type Class int

// Attribute is an attribute of events that not every class has.
type Attribute uint8

// Other is the value of every enum that stands for the source's own word.
const Other = 99

type classInfo struct {
	uid              int
	name             string
	caption          string
	category         int
	categoryName     string
	activity, status *enumSet
	profiles         []string
	has              uint64 // bit set of Attribute
}

type enumValue struct {
	id         int
	key        string // the value as text, the key of enums whose values are texts
	caption    string
	deprecated string
}

type enumSet []enumValue

// caption is the caption of a value; ok is false for a value that the enum lacks.
func (s enumSet) caption(id int) (caption string, ok bool) {
	if id >= 0 && id < len(s) && s[id].id == id { // most enums count from 0
		return s[id].caption, true
	}
	for i := range s {
		if s[i].id == id {
			return s[i].caption, true
		}
	}
	return "", false
}

// value is the value of a caption.
func (s enumSet) value(caption string) (id int, ok bool) {
	for i := range s {
		if s[i].caption == caption {
			return s[i].id, true
		}
	}
	return 0, false
}

// Known reports whether events of the class are emitted.
func (c Class) Known() bool { return c.info() != nil }

// Name is the schema's name of the class, as in entity_management.
func (c Class) Name() string {
	if i := c.info(); i != nil {
		return i.name
	}
	return ""
}

// Caption is the class's caption, class_name.
func (c Class) Caption() string {
	if i := c.info(); i != nil {
		return i.caption
	}
	return ""
}

// Has reports whether events of the class have the attribute, with the profiles that Millrace lists.
func (c Class) Has(a Attribute) bool {
	i := c.info()
	return i != nil && i.has&(1<<a) != 0
}

// Activity is the caption of an activity of the class.
func (c Class) Activity(id int) (caption string, ok bool) {
	i := c.info()
	if i == nil {
		return "", false
	}
	return i.activity.caption(id)
}

// ActivityOf is the activity of the class that has the caption.
func (c Class) ActivityOf(caption string) (id int, ok bool) {
	i := c.info()
	if i == nil {
		return 0, false
	}
	return i.activity.value(caption)
}

// HasProfile reports whether the class can carry the profile.
func (c Class) HasProfile(profile string) bool {
	i := c.info()
	return i != nil && slices.Contains(i.profiles, profile)
}

// Enum is the value of an enumerated attribute. The zero Enum is absent.
type Enum struct {
	plus  int32 // the value + 1
	other string
}

// Value is the Enum of a value that the schema names.
func Value(id int) Enum { return Enum{plus: int32(id) + 1} }

// OtherValue is 99 with the source's own word.
func OtherValue(word string) Enum { return Enum{plus: Other + 1, other: word} }

// ID is the number of the value, 0 when absent.
func (v Enum) ID() int { return max(0, int(v.plus)-1) }

// Present reports whether there is a value.
func (v Enum) Present() bool { return v.plus != 0 }

// Int is an optional integer. The zero Int is absent.
type Int struct {
	n   int64
	set bool
}

// Number is the Int of n.
func Number(n int64) Int { return Int{n, true} }

// Bool is an optional truth value. The zero Bool is absent.
type Bool uint8

// The values of a Bool.
const (
	Absent Bool = iota
	False
	True
)

// Truth is the Bool of b.
func Truth(b bool) Bool {
	if b {
		return True
	}
	return False
}

// JSON is a value in JSON form that is written as it is. Nil is absent.
type JSON []byte
