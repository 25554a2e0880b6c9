package service

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"

	"millrace/internal/conf"
)

// Command is something that a binary does once instead of running: `normalizer map FILE`.
type Command[T any] struct {
	Synopsis string // one line
	Args     string // what follows the name, as --help shows it: "[FILE…|-]"
	Help     string // further lines
	// Setup registers the command's flags and returns what runs once they are parsed. Flags and arguments may be mixed.
	Setup func(fs *flag.FlagSet) Action[T]
	// Validate judges the configuration instead of the program's Validate; a command that needs less asks for less.
	Validate func(T) error
}

// Action runs a command.
type Action[T any] func(ctx context.Context, call Call[T]) error

// Call is what a command is given.
type Call[T any] struct {
	Runtime
	Config   T
	Args     []string
	In       io.Reader
	Out, Err io.Writer
}

// options is the parsed command line.
type options[T any] struct {
	config                                           string
	set                                              []string
	check, json, probe, topics, printConfig, version bool

	apply   func(*T) error
	command *Command[T] // nil = run the program
	action  Action[T]
	args    []string
}

// repeated is a flag that may be given more than once.
type repeated []string

func (r *repeated) String() string { return strings.Join(*r, " ") }

func (r *repeated) Set(value string) error {
	*r = append(*r, value)
	return nil
}

func (o *options[T]) shared(fs *flag.FlagSet) {
	fs.StringVar(&o.config, "config", "", "read configuration from the YAML `file`")
	fs.Var((*repeated)(&o.set), "set", "set one `key=value`, over file and environment; may be repeated")
	fs.BoolVar(&o.printConfig, "print-config", false, "print the effective configuration, secrets masked, and exit")
}

// parseArgs reads `[flags] [command [flags and arguments]]`. --help is written to out and ends with flag.ErrHelp.
func parseArgs[T any](p Program[T], args []string, out io.Writer) (*options[T], error) {
	o := &options[T]{}
	fs := newFlagSet(p.Name)
	o.shared(fs)
	fs.BoolVar(&o.check, "check", false, "check configuration and everything it points at, and exit")
	if p.CheckJSON != nil {
		fs.BoolVar(&o.json, "json", false, "with -check: one JSON object a line")
	}
	fs.BoolVar(&o.probe, "probe", false, "ask the instance that runs with this configuration whether it is ready, and exit with 0 or 1")
	fs.BoolVar(&o.version, "version", false, "print the version and exit")
	if p.Topics != nil {
		fs.BoolVar(&o.topics, "topics", false, "print the commands that create the topics and grant the rights needed here, and exit")
	}
	if p.Flags != nil {
		o.apply = p.Flags(fs)
	}
	if err := fs.Parse(args); err != nil {
		return nil, flagError(err, fs, func() error { return writeHelp(out, p, fs) })
	}
	if o.json && !o.check {
		return nil, Usagef("-json says how -check answers: give -check, too")
	}
	if fs.NArg() == 0 {
		return o, nil
	}
	name := fs.Arg(0)
	command, found := p.Commands[name]
	if !found {
		return nil, p.unknownCommand(name)
	}
	o.command = &command
	sub := newFlagSet(p.Name + " " + name)
	o.shared(sub)
	o.action = command.Setup(sub)
	rest := fs.Args()[1:]
	for len(rest) > 0 { // flag stops at the first argument: go on behind it
		if err := sub.Parse(rest); err != nil {
			return nil, flagError(err, sub, func() error { return writeCommandHelp(out, p.Name+" "+name, command, sub) })
		}
		if sub.NArg() == 0 {
			break
		}
		literal := len(rest) > sub.NArg() && rest[len(rest)-sub.NArg()-1] == "--"
		if literal {
			o.args = append(o.args, sub.Args()...)
			break
		}
		o.args = append(o.args, sub.Arg(0))
		rest = sub.Args()[1:]
	}
	return o, nil
}

func newFlagSet(name string) *flag.FlagSet {
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	return fs
}

// flagError turns what the flag package found into one line, or into the help that was asked for.
func flagError(err error, fs *flag.FlagSet, help func() error) error {
	if errors.Is(err, flag.ErrHelp) {
		if err := help(); err != nil {
			return err
		}
		return flag.ErrHelp
	}
	if name, unknown := strings.CutPrefix(err.Error(), "flag provided but not defined: -"); unknown {
		var names []string
		fs.VisitAll(func(f *flag.Flag) { names = append(names, f.Name) })
		if near := conf.Nearest(name, names); near != "" {
			return Usagef("unknown flag -%s: did you mean -%s?", name, near)
		}
		return Usagef("unknown flag -%s: --help lists the flags", name)
	}
	return UsageError{err}
}

func writeHelp[T any](w io.Writer, p Program[T], fs *flag.FlagSet) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n\nUsage:\n  %s [-config FILE] [-set key=value …]\n", p.Name, p.Synopsis, p.Name)
	for _, name := range p.names() {
		b.WriteString(strings.TrimRight(fmt.Sprintf("  %s %s [flags] %s", p.Name, name, p.Commands[name].Args), " ") + "\n")
	}
	if len(p.Commands) > 0 {
		b.WriteString("\nCommands (NAME --help says more):\n")
		for _, name := range p.names() {
			fmt.Fprintf(&b, "  %-17s  %s\n", name, p.Commands[name].Synopsis)
		}
	}
	b.WriteString("\nFlags:\n")
	writeFlags(&b, fs)
	b.WriteString("\nExit codes: 0 fine, 1 failed while running, 2 wrong usage or configuration.\n" +
		"The first SIGINT or SIGTERM stops gracefully, the second one at once.\n\n" +
		"Configuration: defaults < YAML file (-config) < environment < -set. The key kafka.brokers is\n" +
		"  kafka: {brokers: [host:9092]}      in the file\n" +
		"  MILLRACE_KAFKA__BROKERS=host:9092  in the environment\n" +
		"  -set kafka.brokers=host:9092       on the command line\n" +
		"Entries of lists are counted from 0: MILLRACE_TENANTS__0__ID. Durations are written 30s, 5m, 12h or 15d, sizes 64MiB.\n" +
		"A secret is never written into the file, only its place: file:/run/secrets/name or env:NAME.\n\nKeys:\n")
	if err := conf.Help(&b, p.Default()); err != nil {
		return err
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func writeCommandHelp[T any](w io.Writer, name string, c Command[T], fs *flag.FlagSet) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n\nUsage:\n  %s [flags] %s\n", name, c.Synopsis, name, c.Args)
	if c.Help != "" {
		b.WriteString("\n" + strings.TrimSpace(c.Help) + "\n")
	}
	b.WriteString("\nFlags:\n")
	writeFlags(&b, fs)
	_, err := io.WriteString(w, b.String())
	return err
}

func writeFlags(b *strings.Builder, fs *flag.FlagSet) {
	fs.VisitAll(func(f *flag.Flag) {
		value, usage := flag.UnquoteUsage(f)
		name := "-" + f.Name
		if value != "" {
			name += " " + value
		}
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "0" && f.DefValue != "0s" {
			usage += " (default " + f.DefValue + ")"
		}
		fmt.Fprintf(b, "  %-18s %s\n", name, usage)
	})
}
