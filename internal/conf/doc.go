// Package conf reads a binary's configuration into a struct, strictly: what it does not know or cannot parse is an error that
// names the key and the remedy.
//
// A configuration is a plain struct whose exported fields carry two tags: `koanf:"name"` (lower-case, words joined by _) and
// `help:"…"` (one or two sentences for the operator: what it does, its unit, what breaks). Nested structs make dotted keys,
// `koanf:",squash"` puts the fields of an embedded struct beside the others, `koanf:"-"` hides a field. Slices of structs are
// written as YAML lists. Four layers are laid over one another, each stronger than the one before:
//
//	defaults in the struct < YAML file < environment < -set key=value
//
// In the environment kafka.brokers is MILLRACE_KAFKA__BROKERS and the id of the first tenant is MILLRACE_TENANTS__0__ID. A list
// of texts is written with commas.
package conf
