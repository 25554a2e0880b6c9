package app

import (
	"context"
	"embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"

	"millrace/internal/service"
	"millrace/normalizer/internal/offline"
	"millrace/pkg/audit"
	"millrace/schemas"
)

func commands() map[string]service.Command[Config] {
	return map[string]service.Command[Config]{
		"map": {
			Synopsis: "map audit records from files to OCSF events, without a cluster",
			Args:     "[FILE…|-]",
			Help: `Reads vendor records and writes one OCSF event a line to standard output. Records come as NDJSON, as one JSON array, as one
object, or as a Purview CSV export (column AuditData), each also gzipped; the form is found out. Without a file, or for -, standard
input is read. What cannot be mapped is one line on standard error with file, place and reason, and the exit code is then 1.

Nothing is dropped as a repeat. metadata.uid is the one that the pipeline gives if tenant and domain are the same: the tenant is the
record's OrganizationId unless -tenant says otherwise.`,
			Setup:    setupMap,
			Validate: Config.validateMapping,
		},
		"schemas": {
			Synopsis: "print what describes the topics: AsyncAPI, JSON Schemas, tables, Elasticsearch's index template",
			Args:     "[NAME]",
			Help: `Without a name it lists the files, such as asyncapi.yaml, event.v1.json, ocsf/authentication.json, vendor-fields.csv and
elasticsearch/index-template.json; with one it prints that file.`,
			Setup: func(*flag.FlagSet) service.Action[Config] { return printSchemas },
		},
		"deadletters": deadLetterCommand(),
		"redrive":     redriveCommand(),
	}
}

// printSchemas lists the embedded files, or prints one.
func printSchemas(_ context.Context, call service.Call[Config]) error {
	if len(call.Args) > 1 {
		return service.Usagef("schemas: one name at a time")
	}
	for _, embedded := range []embed.FS{schemas.FS, schemas.OCSF, schemas.Elasticsearch} {
		if len(call.Args) == 1 {
			if content, err := embedded.ReadFile(call.Args[0]); err == nil {
				_, err = call.Out.Write(content)
				return err
			}
			continue
		}
		err := fs.WalkDir(embedded, ".", func(name string, entry fs.DirEntry, err error) error {
			if err == nil && !entry.IsDir() {
				_, err = fmt.Fprintln(call.Out, name)
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("schemas: %w", err)
		}
	}
	if len(call.Args) == 1 {
		return service.Usagef("schemas: there is no %s; without a name the command lists them", call.Args[0])
	}
	return nil
}

func setupMap(fs *flag.FlagSet) service.Action[Config] {
	var opts offline.Options
	fs.BoolVar(&opts.Validate, "validate", false, "judge each event by the OCSF schema; an invalid one is a line on standard error")
	fs.BoolVar(&opts.Explain, "explain", false, "instead of events, say for each record which rule chose class and activity and where each attribute came from")
	fs.BoolVar(&opts.Summary, "summary", false, "instead of events, say for each file how many records became events, and how many of these have a specific class and activity")
	tenant := fs.String("tenant", "", "`GUID` of the tenant that the records belong to")
	return func(ctx context.Context, call service.Call[Config]) error {
		if *tenant != "" {
			id, err := audit.ParseTenantID(*tenant)
			if err != nil {
				return service.Usagef("-tenant: %w", err)
			}
			opts.Tenant = id
		}
		mapper, err := newMapper(call.Config)
		if err != nil {
			return err
		}
		run := offline.New(mapper, opts, call.Out, call.Err)
		files := call.Args
		if len(files) == 0 {
			files = []string{"-"}
		}
		for _, name := range files {
			if err := mapFile(ctx, run, name, call.In); err != nil {
				return errors.Join(err, run.Flush())
			}
		}
		if err := run.Flush(); err != nil {
			return fmt.Errorf("write events: %w", err)
		}
		if run.Failed() {
			return service.ErrReported
		}
		return nil
	}
}

func mapFile(ctx context.Context, run *offline.Run, name string, stdin io.Reader) error {
	if name == "-" {
		return run.Map(ctx, "standard input", stdin)
	}
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	return run.Map(ctx, name, f)
}
