// Command ingester reads the audit feed of Microsoft 365 tenants and writes every record to Kafka, once.
package main

import (
	"os"

	"millrace/ingester/app"
	"millrace/internal/service"
)

func main() { os.Exit(service.Main(app.Program())) }
