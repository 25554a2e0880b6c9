// Package schemas embeds the tables and the JSON Schemas that describe what is on the topics.
package schemas

import "embed"

// FS holds workloads.csv, the JSON Schema of each topic's value, and asyncapi.yaml, which describes the topics; more lies in folders of its own.
//
//go:embed *.csv *.json *.yaml
var FS embed.FS
