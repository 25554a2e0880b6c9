// Command ingester reads the audit feed of Microsoft 365 tenants and writes every record to Kafka, once.
package main

import (
	"os"
	"runtime/debug"

	"millrace/ingester/app"
	"millrace/internal/service"
)

// softLimit is the heap at which the garbage collector works harder. A blob of 64 MiB with its headers fits below it; GOMEMLIMIT
// overrides it for those who have larger ones.
const softLimit = 216 << 20

func main() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(softLimit)
	}
	os.Exit(service.Main(app.Program()))
}
