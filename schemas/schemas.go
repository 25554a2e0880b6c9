// Package schemas embeds the tables and the JSON Schemas that describe what is on the topics.
package schemas

import "embed"

// FS holds workloads.csv and the JSON Schema of each topic's value; further tables lie in folders of their own.
//
//go:embed *.csv *.json
var FS embed.FS
