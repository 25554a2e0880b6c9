package service

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime/debug"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Config is the part of a binary's configuration that this package serves. Binaries embed it with `koanf:",squash"`.
type Config struct {
	Log   LogConfig   `koanf:"log"`
	Admin AdminConfig `koanf:"admin"`
}

// LogConfig says what is logged; logs go to standard error.
type LogConfig struct {
	Level  string `koanf:"level" help:"The least important lines that are written: debug, info, warn or error. At debug there is a line for each transaction."`
	Format string `koanf:"format" help:"json for collectors, text for people."`
}

// AdminConfig is the listener for metrics and probes.
type AdminConfig struct {
	Listen string `koanf:"listen" help:"host:port of /metrics, /healthz, /readyz and /debug/pprof/ (the last one for callers on this machine only). It has no authentication: keep it on 127.0.0.1 or behind a network policy. Port 0, off or empty: no listener."`
}

// DefaultConfig is the default for a binary whose admin listener has the given port.
func DefaultConfig(port int) Config {
	return Config{
		Log:   LogConfig{Level: "info", Format: "json"},
		Admin: AdminConfig{Listen: fmt.Sprintf("127.0.0.1:%d", port)},
	}
}

// Validate judges the values.
func (c Config) Validate() error {
	if _, err := c.Log.level(); err != nil {
		return err
	}
	if c.Log.Format != "json" && c.Log.Format != "text" {
		return fmt.Errorf("log.format: %q is not known: write json or text", c.Log.Format)
	}
	if _, err := c.Admin.address(); err != nil {
		return err
	}
	return nil
}

func (c LogConfig) level() (slog.Level, error) {
	switch strings.ToLower(c.Level) {
	case "debug":
		return slog.LevelDebug, nil
	case "info":
		return slog.LevelInfo, nil
	case "warn":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	default:
		return 0, fmt.Errorf("log.level: %q is not known: write debug, info, warn or error", c.Level)
	}
}

// address is where to listen, "" for nowhere.
func (c AdminConfig) address() (string, error) {
	if c.Listen == "" || c.Listen == "off" || c.Listen == "0" {
		return "", nil
	}
	_, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return "", fmt.Errorf("admin.listen: %q is no host:port: write 127.0.0.1:9101, or off", c.Listen)
	}
	if port == "0" || port == "" {
		return "", nil
	}
	return c.Listen, nil
}

// NewRuntime makes what a component needs from a process: a logger on w, a registry with the process's own metrics, and the build's
// identity. The configuration has been validated.
func NewRuntime(component string, cfg Config, w io.Writer) Runtime {
	level, err := cfg.Log.level()
	if err != nil {
		level = slog.LevelInfo
	}
	opts := &slog.HandlerOptions{Level: level}
	var handler slog.Handler = slog.NewJSONHandler(w, opts)
	if cfg.Log.Format == "text" {
		handler = slog.NewTextHandler(w, opts)
	}
	build := ReadBuildInfo()
	registry := prometheus.NewRegistry()
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "millrace_build_info",
		Help:        "Always 1; the labels say what is running.",
		ConstLabels: prometheus.Labels{"component": component, "version": build.Version, "revision": build.Revision, "go_version": build.GoVersion},
	})
	info.Set(1)
	for _, c := range []prometheus.Collector{info, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})} {
		if err := registry.Register(c); err != nil { // a new registry: only a mistake in this list can bring it here
			slog.New(handler).Error("register process metrics", "err", err)
		}
	}
	return Runtime{Log: slog.New(handler).With("component", component), Registry: registry, Build: build}
}

// BuildInfo identifies the binary.
type BuildInfo struct {
	Version   string // of the module: a tag, or (devel)
	Revision  string // of the source, "" when not built from a checkout
	Time      string // of the revision, RFC 3339
	Modified  bool   // the checkout had changes
	GoVersion string
}

// ReadBuildInfo reads what the Go tool wrote into the binary.
func ReadBuildInfo() BuildInfo {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return BuildInfo{Version: "(unknown)"}
	}
	build := BuildInfo{Version: info.Main.Version, GoVersion: info.GoVersion}
	if build.Version == "" {
		build.Version = "(devel)"
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			build.Revision = s.Value
		case "vcs.time":
			build.Time = s.Value
		case "vcs.modified":
			build.Modified = s.Value == "true"
		}
	}
	return build
}

// String is what -version prints behind the name.
func (b BuildInfo) String() string {
	parts := []string{b.Version}
	if b.Revision != "" {
		revision := "revision " + b.Revision
		if b.Modified {
			revision += " with changes"
		}
		parts = append(parts, revision, b.Time)
	}
	return strings.Join(append(parts, b.GoVersion), ", ")
}
