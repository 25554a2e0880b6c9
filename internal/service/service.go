// Package service is the life of a binary: command line, configuration, logs, admin listener, signals and exit code.
//
// A binary describes itself as a Program; its main is one line, os.Exit(service.Main(app.Program())). Exit codes: 0 fine, 1 failed
// while running, 2 wrong usage or configuration. Whatever stops a program is one line on standard error that names the remedy.
package service

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"millrace/internal/conf"
)

// The exit codes.
const (
	exitFine   = 0
	exitFailed = 1
	exitUsage  = 2
)

// stopBound is how long a component may take to stop after the first signal. A transaction in flight is given 20 s (design section 4,
// drain); the rest is for closing connections. It stays below the 30 s after which Kubernetes kills.
const stopBound = 25 * time.Second

// Runtime is what the process lends to its components.
type Runtime struct {
	Log      *slog.Logger
	Registry *prometheus.Registry
	Build    BuildInfo
}

// Component is a running part of a program. Run works until ctx ends, then stops gracefully and returns nil; any error it returns
// is fatal. Ready is nil when the component does its work, otherwise it says what is missing; it may be called at any time from
// any goroutine.
type Component interface {
	Run(ctx context.Context) error
	Ready() error
}

// Program describes a binary whose configuration is a T.
type Program[T any] struct {
	Name     string
	Synopsis string // one or two sentences for --help
	Default  func() T
	// Validate judges the whole configuration before anything starts; its error names the key and the remedy.
	Validate func(T) error
	New      func(ctx context.Context, cfg T, rt Runtime) (Component, error)
	// Check answers -check: it looks at everything the program needs and writes what it found. Nil = the configuration is all.
	Check func(ctx context.Context, cfg T, rt Runtime, w io.Writer) error
	// CheckJSON answers -check -json: the same for a program to read. Nil = there is no -json.
	CheckJSON func(ctx context.Context, cfg T, rt Runtime, w io.Writer) error
	// Topics answers -topics. Nil = the program has none. ValidateTopics judges the configuration instead of Validate then: less is needed.
	Topics         func(cfg T, w io.Writer) error
	ValidateTopics func(T) error
	Commands       map[string]Command[T]
	// Base finds the shared part of the configuration.
	Base func(*T) *Config
	// Flags registers flags of the program's own, which apply when no command is given. What they set reaches the configuration by
	// Apply, after all layers.
	Flags func(fs *flag.FlagSet) (apply func(*T) error)
}

// UsageError is a mistake on the command line or in the configuration: exit code 2.
type UsageError struct{ Err error }

func (e UsageError) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e UsageError) Unwrap() error { return e.Err }

// Usagef makes a UsageError.
func Usagef(format string, args ...any) error { return UsageError{fmt.Errorf(format, args...)} }

// ErrReported ends a program with exit code 1 without a further line: what went wrong has been written already.
var ErrReported = errors.New("reported")

// Main runs a program with the process's arguments, environment, streams and signals, and returns the exit code. The first SIGINT
// or SIGTERM stops it gracefully, the second one at once.
func Main[T any](p Program[T]) int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	signals := make(chan os.Signal, 2) // two: the second must not be missed while the first is handled
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	go stopOnSignal(signals, cancel, func() {
		_, _ = fmt.Fprintf(os.Stderr, "%s: second signal: exiting at once; what was not committed is redone at the next start\n", p.Name)
		os.Exit(exitFailed)
	})
	return Run(ctx, p, os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr)
}

func stopOnSignal(signals <-chan os.Signal, first, second func()) {
	<-signals
	first()
	<-signals
	second()
}

// Run is the whole of main, testable: args without the program's name, env as os.Environ gives it. It returns the exit code.
func Run[T any](ctx context.Context, p Program[T], args, env []string, stdin io.Reader, stdout, stderr io.Writer) int {
	err := run(ctx, p, args, env, streams{stdin, stdout, stderr})
	switch usage := (UsageError{}); {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return exitFine
	case errors.Is(err, ErrReported):
		return exitFailed
	case errors.As(err, &usage):
		_, _ = fmt.Fprintln(stderr, oneLine(p.Name, err))
		return exitUsage
	default:
		_, _ = fmt.Fprintln(stderr, oneLine(p.Name, err))
		return exitFailed
	}
}

// oneLine keeps the promise that what stops a program is one line, for errors that were joined too.
func oneLine(name string, err error) string {
	return name + ": " + strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; ")
}

type streams struct {
	in       io.Reader
	out, err io.Writer
}

func run[T any](ctx context.Context, p Program[T], args, env []string, std streams) error {
	opts, err := parseArgs(p, args, std.out)
	if err != nil {
		return err
	}
	if opts.version {
		_, err := fmt.Fprintf(std.out, "%s %s\n", p.Name, ReadBuildInfo())
		return err
	}
	before := digestOf(opts.config)
	cfg, err := load(p, opts, env)
	if err != nil {
		return UsageError{err}
	}
	if opts.printConfig {
		return conf.Print(std.out, cfg)
	}
	if err := validate(p, opts, cfg); err != nil {
		return UsageError{err}
	}
	base := p.Base(&cfg)
	if opts.probe {
		return probe(ctx, base.Admin)
	}
	if opts.topics {
		return p.Topics(cfg, std.out)
	}
	rt := NewRuntime(p.Name, *base, std.err)
	switch {
	case opts.check:
		return check(ctx, p, opts.json, cfg, rt, std.out)
	case opts.command != nil:
		return opts.action(ctx, Call[T]{Config: cfg, Runtime: rt, Args: opts.args, In: std.in, Out: std.out, Err: std.err})
	default:
		again := func() (T, error) {
			cfg, err := load(p, opts, env)
			if err == nil {
				err = validate(p, opts, cfg)
			}
			return cfg, err
		}
		return serve(ctx, p, cfg, rt, reload[T]{file: opts.config, digest: before, load: again, every: reloadEvery})
	}
}

// load lays the sources of the configuration over its defaults.
func load[T any](p Program[T], opts *options[T], env []string) (T, error) {
	cfg := p.Default()
	if err := conf.Load(&cfg, conf.Sources{File: opts.config, Env: env, Set: opts.set}); err != nil {
		return cfg, err
	}
	if opts.apply != nil {
		return cfg, opts.apply(&cfg)
	}
	return cfg, nil
}

// validate judges a configuration for what the command line asks for.
func validate[T any](p Program[T], opts *options[T], cfg T) error {
	judge := p.Validate
	switch {
	case opts.command != nil && opts.command.Validate != nil:
		judge = opts.command.Validate
	case opts.topics && p.ValidateTopics != nil:
		judge = p.ValidateTopics
	}
	if judge != nil {
		if err := judge(cfg); err != nil {
			return err
		}
	}
	return p.Base(&cfg).Validate()
}

func check[T any](ctx context.Context, p Program[T], asJSON bool, cfg T, rt Runtime, w io.Writer) error {
	switch {
	case asJSON:
		return p.CheckJSON(ctx, cfg, rt, w)
	case p.Check != nil:
		return p.Check(ctx, cfg, rt, w)
	}
	_, err := fmt.Fprintln(w, "configuration: ok")
	return err
}

// serve runs the program's component beside the admin listener until ctx ends or the component fails.
func serve[T any](ctx context.Context, p Program[T], cfg T, rt Runtime, again reload[T]) (err error) {
	admin, err := NewAdmin(p.Base(&cfg).Admin, rt)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, admin.Close()) }()
	rt.Log.Info("starting", "version", rt.Build.Version, "revision", rt.Build.Revision, "admin", admin.Addr())
	component, err := p.New(ctx, cfg, rt)
	if err != nil {
		if ctx.Err() != nil {
			return nil // a signal while it started: nothing has begun
		}
		return err
	}
	admin.SetReady(component.Ready)
	stop := again.watch(ctx, component, rt.Log)
	defer stop()
	err = RunBounded(ctx, component.Run, stopBound)
	if err == nil {
		rt.Log.Info("stopped")
	}
	return err
}

// RunBounded calls run and waits for it; once ctx has ended it waits no longer than bound.
func RunBounded(ctx context.Context, run func(context.Context) error, bound time.Duration) error {
	done := make(chan error, 1) // one: the result must not hold the goroutine if nobody waits any more
	go func() { done <- run(ctx) }()
	select {
	case err := <-done:
		return graceful(ctx, err)
	case <-ctx.Done():
	}
	timer := time.NewTimer(bound)
	defer timer.Stop()
	select {
	case err := <-done:
		return graceful(ctx, err)
	case <-timer.C:
		return fmt.Errorf("did not stop within %s and is ended now: what was not committed is redone at the next start", bound)
	}
}

// graceful drops the error by which a component says that it was asked to stop.
func graceful(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// Task is one long-running part of a component.
type Task struct {
	Name string
	Run  func(ctx context.Context) error
}

// RunTasks runs tasks side by side and waits for all of them. The first that fails ends the others; its error is returned, with
// those that followed from stopping. A task that returns nil is done and leaves the others running.
func RunTasks(ctx context.Context, tasks ...Task) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan error, len(tasks)) // one place each: no task waits for the collector
	for _, task := range tasks {
		go func() {
			err := task.Run(ctx)
			if err != nil {
				err = fmt.Errorf("%s: %w", task.Name, err)
			}
			results <- err
		}()
	}
	var errs []error
	for range tasks {
		err := <-results
		if err == nil || ctx.Err() != nil && errors.Is(err, context.Canceled) {
			continue
		}
		errs = append(errs, err)
		cancel()
	}
	return errors.Join(errs...)
}

// names lists a program's commands.
func (p Program[T]) names() []string {
	names := make([]string, 0, len(p.Commands))
	for name := range p.Commands {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// unknownCommand names the nearest command.
func (p Program[T]) unknownCommand(name string) error {
	if near := conf.Nearest(name, p.names()); near != "" {
		return Usagef("unknown command %s: did you mean %s?", name, near)
	}
	if len(p.Commands) == 0 {
		return Usagef("unexpected argument %s: the program takes flags only, see --help", name)
	}
	return Usagef("unknown command %s: the commands are %s", name, strings.Join(p.names(), ", "))
}
