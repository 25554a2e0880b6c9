// Command normalizer turns raw audit records into OCSF events and drops the vendor's repeats.
package main

import (
	"os"

	"millrace/internal/service"
	"millrace/normalizer/app"
)

func main() {
	os.Exit(service.Main(app.Program()))
}
