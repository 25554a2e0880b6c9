package schemas

import "embed"

// OCSF holds the tables under ocsf/: the schema's facts, and which class and activity a vendor record becomes.
//
//go:embed ocsf/*.csv
var OCSF embed.FS
