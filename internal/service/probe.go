package service

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// probeBound is how long -probe waits: below the timeout that container engines give a health check.
const probeBound = 4 * time.Second

// probe answers -probe: whether the instance that runs with this configuration is ready, asked on its admin listener. It is for images that have
// nothing in them but the binary.
func probe(ctx context.Context, cfg AdminConfig) error {
	address, err := cfg.address()
	if err != nil {
		return err
	}
	if address == "" {
		return Usagef("-probe: admin.listen is off: there is nobody to ask")
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	if ip := net.ParseIP(host); host == "" || ip.IsUnspecified() {
		host = "127.0.0.1" // it listens everywhere, so here too
	}
	ctx, cancel := context.WithTimeout(ctx, probeBound)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+"/readyz", nil)
	if err != nil {
		return err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(response.Body, 4096))
	if err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("probe: not ready: %s", strings.TrimSpace(string(text)))
	}
	return nil
}
