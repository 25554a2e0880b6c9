package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"time"

	"millrace/internal/m365sim/report"
	"millrace/internal/m365sim/tenant"
)

// dump writes the records of a tenant's week as NDJSON, without any server: material for people who build parsers.
func dump(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	fs := flag.NewFlagSet("m365sim dump", flag.ContinueOnError)
	fs.SetOutput(stderr)
	var tc tenant.Config
	tenantFlags(fs, &tc)
	contentType := fs.String("content-type", "", "only this content `type`, such as DLP.All")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if tc.Origin.IsZero() {
		tc.Origin = time.Now()
	}
	t, err := tenant.New(tc)
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(stdout, 1<<20)
	defer func() { err = errors.Join(err, out.Flush()) }()
	return t.Blobs(ctx, time.Time{}, func(b tenant.Blob) error {
		if *contentType != "" && b.ContentType != *contentType {
			return nil
		}
		for _, r := range b.Records {
			if _, err := out.Write(r); err != nil {
				return err
			}
			if err := out.WriteByte('\n'); err != nil {
				return err
			}
		}
		return nil
	})
}

// compare prints how an invented week looks beside files of records: the realism report.
func compare(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	fs := flag.NewFlagSet("m365sim report", flag.ContinueOnError)
	fs.SetOutput(stderr)
	var tc tenant.Config
	tenantFlags(fs, &tc)
	if err := fs.Parse(args); err != nil {
		return err
	}
	if tc.Origin.IsZero() {
		tc.Origin = time.Now()
	}
	t, err := tenant.New(tc)
	if err != nil {
		return err
	}
	invented := report.New("invented")
	err = t.Blobs(ctx, time.Time{}, func(b tenant.Blob) error {
		for _, r := range b.Records {
			invented.Add(r)
		}
		return nil
	})
	if err != nil {
		return err
	}
	columns := []*report.Column{invented}
	if fs.NArg() > 0 {
		files := report.New("files")
		for _, name := range fs.Args() {
			if err := files.AddFile(name); err != nil {
				return fmt.Errorf("report: %w", err)
			}
		}
		columns = append(columns, files)
	}
	return report.Write(stdout, columns...)
}
