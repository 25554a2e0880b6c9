// Command enricher joins normalized audit events with what the directory, the network tables and user agents say about them.
package main

import (
	"os"

	"millrace/enricher/app"
	"millrace/internal/service"
)

func main() { os.Exit(service.Main(app.Program())) }
