package ocsf

// typeDef is a scalar type of the schema.
type typeDef struct {
	base       string
	regex      string
	ranged     bool
	low, high  int64
	maxLen     int
	observable int
}

// ownerDef is a class or an object of the schema.
type ownerDef struct {
	observable  []int
	deprecated  string
	constraints []constraintDef
	attributes  []attributeDef // by name
}

type constraintDef struct {
	kind  string // at_least_one or just_one
	names []string
}

type attributeDef struct {
	name       string
	typ        string
	object     string // for typ object_t; object = any JSON object
	list       bool
	req        byte // q required, c recommended, t optional
	profiles   []string
	enum       enumSet
	sibling    string
	observable int
	deprecated string
}
