package floors

// room is one row of the table of floors: a set of packages, where they stand and which of our own packages they may import.
type room struct {
	pattern string // package path inside the module; a trailing /... means the folder and all below it, * means one path element
	floor   int
	// imports are patterns of our own packages that a package of this room may import, beside packages of the same room. <binary> stands for the
	// importer's own first path element. Empty = none.
	imports []string
}

// rooms is searched from the top: the first pattern that matches a package decides. A package that no row matches is a violation, so that
// whoever adds one says where it stands.
var rooms = []room{
	{"pkg/audit/...", 0, nil},
	{"pkg/ocsf/...", 0, nil},
	{"schemas/...", 0, nil},

	// The wire contract speaks of Kafka records and of their schemas; kafkatx knows nothing of audit.
	{"pkg/wire/...", 1, []string{floor0, floor0pkg, "pkg/kafkatx"}},
	{"pkg/m365/...", 1, []string{floor0, floor0pkg}},
	{"pkg/msauth/...", 1, []string{floor0, floor0pkg}},
	{"pkg/kafkatx/...", 1, nil},

	{"internal/service/...", 2, []string{"internal/conf"}},
	{"internal/conf/...", 2, nil},
	{"internal/broker/...", 2, nil},

	{"*/internal/plan/...", 3, []string{floor0, floor0pkg}},
	{"*/internal/checkpoint/...", 3, []string{floor0, floor0pkg}},
	{"*/internal/mapping/...", 3, []string{floor0, floor0pkg}},
	{"*/internal/join/...", 3, []string{floor0, floor0pkg, "<binary>/internal/..."}},
	{"ingester/internal/...", 3, []string{"pkg/...", "schemas/...", "<binary>/internal/..."}},
	{"normalizer/internal/...", 3, []string{"pkg/...", "schemas/...", "<binary>/internal/..."}},
	{"enricher/internal/...", 3, []string{"pkg/...", "schemas/...", "<binary>/internal/..."}},
	{"internal/m365sim/...", 3, []string{"pkg/audit", "schemas/..."}},
	{"internal/replay/...", 3, []string{"pkg/...", "schemas/..."}},
	{"internal/console/...", 3, []string{"pkg/...", "schemas/..."}},
	{"internal/proof/...", 3, []string{"pkg/...", "schemas/...", "internal/m365sim/tenant"}},

	{"*/app/...", 4, []string{"pkg/...", "schemas/...", "internal/...", "<binary>/internal/...", "<binary>/app/..."}},

	{"ingester", 5, []string{"<binary>/app", "internal/..."}},
	{"normalizer", 5, []string{"<binary>/app", "internal/..."}},
	{"enricher", 5, []string{"<binary>/app", "internal/..."}},
	{"cmd/...", 5, []string{"*/app", "internal/...", "pkg/...", "schemas/..."}},
	{"test/...", 5, []string{"*/app", "internal/...", "pkg/...", "schemas/...", "cmd/..."}},

	// Test code and tools stand outside of the house; who may import them is a seam below.
	{"internal/testkit/...", outside, []string{"internal/testkit/..."}},
	{"internal/floors", outside, nil},
	{"deploy/...", outside, nil},
}

const (
	floor0    = "schemas/..."
	floor0pkg = "pkg/{audit,ocsf}"
	outside   = 9
)

// purePackages decide from their arguments alone: no file, no network, no process, no clock of the system.
var purePackages = []string{"ingester/internal/plan/...", "ingester/internal/checkpoint/...", "normalizer/internal/mapping/...", "enricher/internal/join/..."}

// impureImports is what a pure package never needs.
var impureImports = []string{"os", "os/...", "net", "net/http/...", "syscall", "log/slog", "database/..."}

// seam keeps an import behind the packages that are made for it.
type seam struct {
	imports string   // pattern of the import path: ours without the module name, a third party's in full
	only    []string // packages whose shipped code may import it
	tests   bool     // whether every _test.go may
	why     string
}

var seams = []seam{
	{"github.com/segmentio/kafka-go/...", []string{"pkg/kafkatx/..."}, false, "one package speaks to Kafka in shipped code; tests use franz-go as an independent witness"},
	{"github.com/twmb/franz-go/...", []string{"internal/broker/...", "internal/proof/...", "internal/testkit/...", "cmd/standalone/..."}, true, "an independent witness, never in the pipeline"},
	{"github.com/AzureAD/microsoft-authentication-library-for-go/...", []string{"pkg/msauth/..."}, true, "MSAL only behind msauth.TokenSource"},
	{"github.com/hashicorp/go-retryablehttp/...", []string{"pkg/m365/...", "ingester/internal/source/..."}, true, "retries of HTTP only where their rules are ours"},
	{"github.com/knadh/koanf/...", []string{"internal/conf/..."}, false, "configuration is read in one place"},
	{"github.com/oschwald/maxminddb-golang/...", []string{"enricher/internal/network/..."}, true, "one reader of address databases"},
	{"github.com/google/go-cmp/...", []string{"internal/testkit/..."}, true, "it panics by design, so it stays in tests"},
	{"github.com/cloudevents/...", nil, true, "our headers are read by it in tests, and written by us"},
	{"github.com/compose-spec/...", nil, true, "it checks the compose file in tests"},
	{"github.com/santhosh-tekuri/jsonschema/...", nil, true, "schemas are checked in tests"},
	{"testing/...", nil, true, "test code stays in tests"},
	{"internal/testkit/...", nil, true, "test code stays in tests"},
	{"internal/floors", nil, false, "nothing to import there"},
	{"internal/broker/...", []string{"cmd/standalone/..."}, true, "the embedded broker is for trying out and for tests"},
	{"internal/proof/...", []string{"internal/proof/...", "cmd/...", "test/..."}, true, "the proof judges the pipeline from outside"},
}

// bannedSelectors are names of kafka-go that break the promises, wherever they are used in shipped code: the Reader delivers aborted records, the
// Writer is not idempotent, and the client's Heartbeat hides errors.
var bannedSelectors = map[string][]string{
	"github.com/segmentio/kafka-go": {"Reader", "ReaderConfig", "NewReader", "Writer", "WriterConfig", "NewWriter", "Conn", "Dial", "DialLeader"},
}

// refusedNames are package names that say nothing.
var refusedNames = []string{"util", "utils", "common", "helpers", "base", "types", "models", "misc", "shared"}
