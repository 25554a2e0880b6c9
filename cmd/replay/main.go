// Command replay reads a window of the pipeline's topics again: onto a terminal, into a file, or to a topic of its own.
package main

import (
	"context"
	"os"

	"millrace/internal/service"
	"millrace/pkg/wire"
)

// config is the tool's configuration: where the cluster is.
type config struct {
	service.Config `koanf:",squash"`
	Kafka          wire.Kafka `koanf:"kafka"`
}

func main() { os.Exit(service.Main(program())) }

func program() service.Program[config] {
	return service.Program[config]{
		Name: "replay",
		Synopsis: "reads a window of Millrace's topics again, as committed, without touching them: `replay show` onto the terminal, `replay export` " +
			"into a file, `replay copy` to a topic of its own. `replay COMMAND --help` lists the filters.",
		Default: func() config {
			c := config{Config: service.DefaultConfig(0), Kafka: wire.DefaultKafka()}
			c.Admin.Listen, c.Log.Format, c.Log.Level = "off", "text", "warn"
			return c
		},
		Validate: func(c config) error { return c.Kafka.Validate() },
		New: func(context.Context, config, service.Runtime) (service.Component, error) {
			return nil, service.Usagef("say what to do: replay show, replay export or replay copy; replay --help tells more")
		},
		Base: func(c *config) *service.Config { return &c.Config },
		Commands: map[string]service.Command[config]{
			"show":   showCommand(),
			"export": exportCommand(),
			"copy":   copyCommand(),
		},
	}
}
