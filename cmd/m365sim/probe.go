package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// probeTime bounds how long probe waits for an answer.
const probeTime = 3 * time.Second

// probe asks a running simulator whether it is up, trusting the CA in its folder: a health check that needs no other program.
func probe(ctx context.Context, args []string, stderr io.Writer) (err error) {
	fs := flag.NewFlagSet("m365sim probe", flag.ContinueOnError)
	fs.SetOutput(stderr)
	addr := fs.String("addr", "127.0.0.1:8443", "`address` of the simulator")
	dir := fs.String("dir", "", "its `folder`")
	if err := fs.Parse(args); err != nil {
		return err
	}
	ca, err := os.ReadFile(filepath.Join(*dir, "ca.pem"))
	if err != nil {
		return fmt.Errorf("probe: read the CA: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return errors.New("probe: the CA file holds no certificate")
	}
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+*addr+"/_sim/health", http.NoBody)
	if err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr}).Do(req)
	if err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("probe: the simulator answered %d", resp.StatusCode)
	}
	return nil
}
