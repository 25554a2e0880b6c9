package service_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"millrace/internal/conf"
	"millrace/internal/service"
)

type config struct {
	Service service.Config `koanf:",squash"`
	Broker  string         `koanf:"broker" help:"Where the broker is."`
	Secret  conf.Secret    `koanf:"secret" help:"Its password."`
}

// component is a fake: it runs until it is told to stop or to fail.
type component struct {
	ready   func() error
	fail    chan error
	started chan struct{}
	hang    bool
}

func (c *component) Run(ctx context.Context) error {
	close(c.started)
	select {
	case err := <-c.fail:
		return err
	case <-ctx.Done():
	}
	if c.hang {
		return <-c.fail
	}
	return ctx.Err()
}

func (c *component) Ready() error { return c.ready() }

func newComponent() *component {
	return &component{ready: func() error { return nil }, fail: make(chan error, 1), started: make(chan struct{})}
}

func program(c *component) service.Program[config] {
	return service.Program[config]{
		Name:     "test",
		Synopsis: "a program for tests",
		Default:  func() config { return config{Service: service.DefaultConfig(0), Broker: "127.0.0.1:9092"} },
		Validate: func(c config) error {
			if c.Broker == "" {
				return errors.New("broker: not set: write host:port")
			}
			return nil
		},
		New: func(context.Context, config, service.Runtime) (service.Component, error) { return c, nil },
		CheckJSON: func(_ context.Context, _ config, _ service.Runtime, w io.Writer) error {
			_, err := fmt.Fprintln(w, `{"state":"ok"}`)
			return err
		},
		Topics: func(c config, w io.Writer) error { _, err := fmt.Fprintln(w, "create", c.Broker); return err },
		Base:   func(c *config) *service.Config { return &c.Service },
		Commands: map[string]service.Command[config]{
			"echo": {Synopsis: "write the arguments", Args: "[WORD…]", Help: "Longer help.", Setup: func(fs *flag.FlagSet) service.Action[config] {
				upper := fs.Bool("upper", false, "in capitals")
				return func(_ context.Context, call service.Call[config]) error {
					text := strings.Join(call.Args, "|")
					if *upper {
						text = strings.ToUpper(text)
					}
					_, err := fmt.Fprintln(call.Out, text)
					return err
				}
			}, Validate: func(config) error { return nil }},
			"fail": {Synopsis: "fail", Setup: func(*flag.FlagSet) service.Action[config] {
				return func(_ context.Context, call service.Call[config]) error {
					_, _ = fmt.Fprintln(call.Err, "line 3: broken")
					return service.ErrReported
				}
			}},
		},
	}
}

func TestCommandLine(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte("broker: fromfile:1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name     string
		args     string
		env      []string
		code     int
		out, err string // contained in; "" = empty
	}{
		{name: "version", args: "-version", out: "test (devel)"},
		{name: "help", args: "--help", out: "log.level  text (default info)"},
		{name: "help with one dash", args: "-help", out: "Exit codes"},
		{name: "help of a command", args: "echo --help", out: "in capitals"},
		{name: "print config", args: "-print-config -config " + file, out: "broker: fromfile:1"},
		{name: "print config masks", args: "-print-config", env: []string{"MILLRACE_SECRET=hunter2"}, out: `secret: "***"`},
		{name: "topics", args: "-topics -set broker=b:1", out: "create b:1"},
		{name: "check", args: "-check", out: "configuration: ok"},
		{name: "check for a program", args: "-check -json", out: `{"state":"ok"}`},
		{name: "json of nothing", args: "-json", code: 2, err: "give -check"},
		{name: "command", args: "echo a -upper b -- -c", out: "A|B|-C"},
		{name: "command with config behind", args: "echo -config " + file + " -print-config", out: "fromfile"},
		{name: "dash is an argument", args: "echo -", out: "-"},
		{name: "command needs less", args: "-set broker= echo x", out: "x"},
		{name: "command fails", args: "fail", code: 1, err: "line 3: broken"},
		{name: "unknown command", args: "ecko", code: 2, err: "test: unknown command ecko: did you mean echo?"},
		{name: "unknown flag", args: "-confg x", code: 2, err: "test: unknown flag -confg: did you mean -config?"},
		{name: "unknown flag of a command", args: "echo -uper", code: 2, err: "did you mean -upper?"},
		{name: "unknown key", args: "-set brokers=x", code: 2, err: "did you mean broker?"},
		{name: "unknown variable", args: "-check", env: []string{"MILLRACE_BROKERS=x"}, code: 2, err: "MILLRACE_BROKERS"},
		{name: "invalid", args: "-check -set broker=", code: 2, err: "test: broker: not set: write host:port"},
		{name: "log level", args: "-check -set log.level=loud", code: 2, err: `log.level: "loud" is not known`},
		{name: "log format", args: "-check -set log.format=xml", code: 2, err: "log.format"},
		{name: "admin address", args: "-check -set admin.listen=localhost", code: 2, err: "no host:port"},
		{name: "missing file", args: "-config none.yaml", code: 2, err: "config file none.yaml"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var out, errs bytes.Buffer
			code := service.Run(t.Context(), program(newComponent()), strings.Fields(test.args), test.env, strings.NewReader(""), &out, &errs)
			if code != test.code {
				t.Errorf("exit code %d, want %d; %s", code, test.code, &errs)
			}
			if !strings.Contains(out.String(), test.out) || test.out == "" && out.Len() > 0 {
				t.Errorf("stdout %q, want %q", &out, test.out)
			}
			if !strings.Contains(errs.String(), test.err) || test.err == "" && errs.Len() > 0 {
				t.Errorf("stderr %q, want %q", &errs, test.err)
			}
			if strings.Count(errs.String(), "\n") > 1 {
				t.Errorf("more than one line: %q", &errs)
			}
		})
	}
}

// logs is a writer that may be read while it is written to.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// adminAddress finds the listener in the first log line.
func adminAddress(t *testing.T, l *logs) string {
	t.Helper()
	var line struct {
		Admin string `json:"admin"`
	}
	first, _, _ := strings.Cut(l.String(), "\n")
	if err := json.Unmarshal([]byte(first), &line); err != nil || line.Admin == "" {
		t.Fatalf("no listener in %q: %v", first, err)
	}
	return line.Admin
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := new(http.Client).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestServesAndStopsGracefully(t *testing.T) {
	t.Parallel()
	c := newComponent()
	var mu sync.Mutex
	missing := errors.New("waiting for the group")
	c.ready = func() error { mu.Lock(); defer mu.Unlock(); return missing }
	ctx, cancel := context.WithCancel(t.Context())
	errs := &logs{}
	code := make(chan int, 1)
	go func() {
		code <- service.Run(ctx, program(c), []string{"-set", "admin.listen=" + freeAddress(t)}, nil, nil, io.Discard, errs)
	}()
	<-c.started
	base := "http://" + adminAddress(t, errs)
	if status, body := get(t, base+"/healthz"); status != http.StatusOK {
		t.Errorf("healthz: %d %s", status, body)
	}
	if status, body := get(t, base+"/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(body, "waiting for the group") {
		t.Errorf("readyz: %d %s", status, body)
	}
	mu.Lock()
	missing = nil
	mu.Unlock()
	if status, body := get(t, base+"/readyz"); status != http.StatusOK {
		t.Errorf("readyz: %d %s", status, body)
	}
	if status, body := get(t, base+"/metrics"); status != http.StatusOK || !strings.Contains(body, "millrace_build_info{") {
		t.Errorf("metrics: %d %s", status, body)
	}
	if status, _ := get(t, base+"/debug/pprof/cmdline"); status != http.StatusOK {
		t.Errorf("pprof: %d", status)
	}
	cancel()
	if got := <-code; got != 0 {
		t.Errorf("exit code %d: %s", got, errs)
	}
}

func TestPortTaken(t *testing.T) {
	t.Parallel()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	var errs bytes.Buffer
	code := service.Run(t.Context(), program(newComponent()), []string{"-set", "admin.listen=" + l.Addr().String()}, nil, nil, io.Discard, &errs)
	if code != 1 || !strings.Contains(errs.String(), "is in use by another process") || strings.Count(errs.String(), "\n") != 1 {
		t.Errorf("exit code %d: %s", code, &errs)
	}
}

func TestFailureIsOneLineAndExitCodeOne(t *testing.T) {
	t.Parallel()
	c := newComponent()
	c.fail <- errors.Join(errors.New("the broker is gone: start it"), errors.New("so is the other"))
	var errs bytes.Buffer
	code := service.Run(t.Context(), program(c), []string{"-set", "log.level=error"}, nil, nil, io.Discard, &errs)
	if code != 1 || errs.String() != "test: the broker is gone: start it; so is the other\n" {
		t.Errorf("exit code %d: %q", code, &errs)
	}
}

func TestStopIsBounded(t *testing.T) {
	t.Parallel()
	c := newComponent()
	c.hang = true
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := service.RunBounded(ctx, c.Run, 10*time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "did not stop within") {
		t.Errorf("got %v", err)
	}
	c.fail <- nil
}

func TestRunTasks(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	untilStopped := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	err := service.RunTasks(t.Context(),
		service.Task{Name: "done", Run: func(context.Context) error { return nil }},
		service.Task{Name: "waits", Run: untilStopped},
		service.Task{Name: "fails", Run: func(context.Context) error { return boom }})
	if !errors.Is(err, boom) || err.Error() != "fails: boom" {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := service.RunTasks(ctx, service.Task{Name: "waits", Run: untilStopped}); err != nil {
		t.Errorf("got %v", err)
	}
}
