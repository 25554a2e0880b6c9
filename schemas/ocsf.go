package schemas

import "embed"

// OCSF holds what lies under ocsf/: the tables of the schema's facts, the tables that say which class and activity a vendor record
// becomes, and a JSON Schema for each class.
//
//go:embed ocsf/*.csv ocsf/*.json
var OCSF embed.FS

// Elasticsearch holds elasticsearch/index-template.json.
//
//go:embed elasticsearch/*.json
var Elasticsearch embed.FS
