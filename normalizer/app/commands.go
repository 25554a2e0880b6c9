package app

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"millrace/internal/service"
	"millrace/normalizer/internal/offline"
	"millrace/pkg/audit"
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
		"deadletters": deadLetterCommand(),
		"redrive":     redriveCommand(),
	}
}

func setupMap(fs *flag.FlagSet) service.Action[Config] {
	var opts offline.Options
	fs.BoolVar(&opts.Validate, "validate", false, "judge each event by the OCSF schema; an invalid one is a line on standard error")
	fs.BoolVar(&opts.Explain, "explain", false, "instead of events, say for each record which rule chose class and activity and where each attribute came from")
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
