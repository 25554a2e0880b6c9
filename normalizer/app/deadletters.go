package app

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"millrace/internal/conf"
	"millrace/internal/service"
	"millrace/normalizer/internal/deadletter"
	"millrace/pkg/audit"
	"millrace/pkg/kafkatx"
	"millrace/pkg/wire"
)

// choice is the flags by which dead letters are chosen.
type choice struct {
	reasons, stage, tenant, since, until, topic string
}

func (c *choice) register(fs *flag.FlagSet) {
	fs.StringVar(&c.reasons, "reason", "", "only these `reasons`, with commas: "+reasonList())
	fs.StringVar(&c.stage, "stage", "", "only what this `stage` refused: ingester, import, normalizer or enricher")
	fs.StringVar(&c.tenant, "tenant", "", "only records of the tenant with this `GUID`")
	fs.StringVar(&c.since, "since", "", "only what was refused since a `time` (RFC 3339) or within a duration (36h, 7d)")
	fs.StringVar(&c.until, "until", "", "only what was refused before a `time` (RFC 3339) or a duration ago")
	fs.StringVar(&c.topic, "topic", "", "only one topic: `general or dlp` (which holds what DLP rules matched)")
}

func reasonList() string {
	var words []string
	for _, r := range wire.Reasons() {
		words = append(words, string(r))
	}
	return strings.Join(words, ", ")
}

// filter turns the flags, and ids given as arguments, into a filter.
func (c *choice) filter(ids []string, now time.Time) (deadletter.Filter, error) {
	f := deadletter.Filter{Stage: c.stage}
	for word := range strings.SplitSeq(c.reasons, ",") {
		if word = strings.TrimSpace(word); word == "" {
			continue
		}
		if !slices.Contains(wire.Reasons(), wire.Reason(word)) {
			return f, service.Usagef("-reason: %s is none of %s", word, reasonList())
		}
		f.Reasons = append(f.Reasons, wire.Reason(word))
	}
	var err error
	if c.tenant != "" {
		if f.Tenant, err = audit.ParseTenantID(c.tenant); err != nil {
			return f, service.Usagef("-tenant: %w", err)
		}
	}
	if f.Since, err = moment(c.since, now); err != nil {
		return f, service.Usagef("-since: %w", err)
	}
	if f.Until, err = moment(c.until, now); err != nil {
		return f, service.Usagef("-until: %w", err)
	}
	switch c.topic {
	case "":
	case "general", "dlp":
		f.Topics = []bool{c.topic == "dlp"}
	default:
		return f, service.Usagef("-topic: write general or dlp")
	}
	for _, text := range ids {
		id, err := deadletter.ParseID(text)
		if err != nil {
			return f, service.UsageError{Err: err}
		}
		f.IDs = append(f.IDs, id)
	}
	return f, nil
}

// moment reads a time, or a duration before now.
func moment(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	d, err := conf.ParseDuration(text)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is neither a time like 2026-03-02T08:00:00Z nor a duration like 36h", text)
	}
	return now.Add(-d), nil
}

// listLine is one dead letter as -json writes it. It holds nothing of the record but its id.
type listLine struct {
	ID       string    `json:"id"`
	Time     time.Time `json:"time"`
	Stage    string    `json:"stage"`
	Reason   string    `json:"reason"`
	Detail   string    `json:"detail"`
	Tenant   string    `json:"tenant"`
	RecordID string    `json:"record_id"`
	Origin   string    `json:"origin"`
	Part     string    `json:"part,omitempty"` // 1/3
	Bytes    int       `json:"bytes"`
}

func line(l deadletter.Letter) listLine {
	out := listLine{
		ID: l.ID.String(), Time: l.Record.Time.UTC(), Stage: l.Stage(), Reason: string(l.Reason()), Tenant: l.Tenant(), Origin: l.Origin(),
		RecordID: wire.Header(l.Record, wire.HeaderRecordID), Detail: wire.Header(l.Record, wire.HeaderErrorMessage), Bytes: len(l.Record.Value),
	}
	if part := wire.Header(l.Record, wire.HeaderPart); part != "" {
		out.Part = part + "/" + wire.Header(l.Record, wire.HeaderParts)
	}
	return out
}

func (l listLine) String() string {
	part := ""
	if l.Part != "" {
		part = " part " + l.Part
	}
	return fmt.Sprintf("%s  %s  %s %s  tenant %s  record %s  from %s  %d bytes%s  %s",
		l.ID, l.Time.Format(time.RFC3339), l.Stage, l.Reason, l.Tenant, l.RecordID, l.Origin, l.Bytes, part, l.Detail)
}

func deadLetterCommand() service.Command[Config] {
	return service.Command[Config]{
		Synopsis: "list the records that were refused, or show one",
		Args:     "[list | show ID…]",
		Help: `list (the default) writes one line for each dead letter: its id, when, by which stage and why it was refused, the tenant, the
vendor's record id, where it was read from, and its size. show writes the record as it was received, after its headers on
standard error: it may hold personal data, and what a DLP rule matched if its id begins with dlp.`,
		Setup: func(fs *flag.FlagSet) service.Action[Config] {
			var c choice
			c.register(fs)
			asJSON := fs.Bool("json", false, "one JSON object a line")
			limit := fs.Int("limit", 0, "at most `N` lines; 0 = all")
			return func(ctx context.Context, call service.Call[Config]) error {
				return deadLetters(ctx, call, c, *asJSON, *limit)
			}
		},
	}
}

func deadLetters(ctx context.Context, call service.Call[Config], c choice, asJSON bool, limit int) error {
	args := call.Args
	show := len(args) > 0 && args[0] == "show"
	if len(args) > 0 && (show || args[0] == "list") {
		args = args[1:]
	} else if len(args) > 0 {
		return service.Usagef("deadletters: unexpected %s: write list, or show ID", args[0])
	}
	if show && len(args) == 0 {
		return service.Usagef("deadletters show: give the id of a dead letter, as the list shows it")
	}
	filter, err := c.filter(args, time.Now())
	if err != nil {
		return err
	}
	client, err := reach(ctx, call)
	if err != nil {
		return err
	}
	defer client.Close()
	out := bufio.NewWriter(call.Out)
	n := 0
	err = deadletter.Each(ctx, client, call.Config.Kafka.Names(), filter, func(l deadletter.Letter) error {
		n++
		if show {
			return showLetter(out, call.Err, l)
		}
		if err := writeLine(out, l, asJSON); err != nil {
			return err
		}
		if n == limit {
			return deadletter.ErrStop
		}
		return nil
	})
	if show && err == nil && n < len(args) {
		err = fmt.Errorf("%d of %d dead letters are not there: retention may have removed them", len(args)-n, len(args))
	}
	return errors.Join(err, out.Flush())
}

func writeLine(w io.Writer, l deadletter.Letter, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(line(l))
	}
	_, err := fmt.Fprintln(w, line(l))
	return err
}

func showLetter(out *bufio.Writer, errs io.Writer, l deadletter.Letter) error {
	for _, h := range l.Record.Headers {
		if _, err := fmt.Fprintf(errs, "%s: %q\n", h.Key, h.Value); err != nil {
			return err
		}
	}
	if _, err := out.Write(l.Record.Value); err != nil {
		return err
	}
	return out.WriteByte('\n')
}

// reach connects for a command.
func reach(ctx context.Context, call service.Call[Config]) (*kafkatx.Client, error) {
	client, err := call.Config.Kafka.Client(wire.StageRedrive, call.Log, nil)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, wire.StartBound)
	defer cancel()
	if err := client.Ping(ctx); err != nil {
		client.Close()
		return nil, fmt.Errorf("kafka.brokers: %w", err)
	}
	return client, nil
}

func redriveCommand() service.Command[Config] {
	return service.Command[Config]{
		Synopsis: "send refused records through the normalizer again",
		Args:     "[ID…]",
		Help: `Puts the chosen dead letters, bytes unchanged, on the redrive topic, where the running normalizer takes them like any other raw
record: after the cause is gone they become events, otherwise dead letters again. However often a record is redriven, it is
published once. Dead letters stay on their topics until their retention ends. Choose by flags or ids, or say -all; look with
-dry-run first.`,
		Setup: func(fs *flag.FlagSet) service.Action[Config] {
			var c choice
			c.register(fs)
			dryRun := fs.Bool("dry-run", false, "only say what would be redriven")
			all := fs.Bool("all", false, "redrive every dead letter")
			return func(ctx context.Context, call service.Call[Config]) error {
				if c == (choice{}) && len(call.Args) == 0 && !*all {
					return service.Usagef("redrive: choose dead letters by flags or ids, or say -all; --help lists the flags")
				}
				return redrive(ctx, call, c, *dryRun)
			}
		},
	}
}

func redrive(ctx context.Context, call service.Call[Config], c choice, dryRun bool) error {
	filter, err := c.filter(call.Args, time.Now())
	if err != nil {
		return err
	}
	client, err := reach(ctx, call)
	if err != nil {
		return err
	}
	defer client.Close()
	var sink deadletter.Sink
	if !dryRun {
		// One id for all redrives: the second of two at once ends the first one, which says so.
		sink, err = client.NewProducer(kafkatx.ProducerConfig{
			TransactionalID: call.Config.Kafka.Prefix + "." + wire.StageRedrive + ".0", Codec: call.Config.Kafka.Codec,
		})
		if err != nil {
			return err
		}
	}
	out := bufio.NewWriter(call.Out)
	counts, err := deadletter.Redrive(ctx, client, sink, call.Config.Kafka.Names(), filter, func(l deadletter.Letter, skipped string) error {
		if skipped != "" {
			_, err := fmt.Fprintf(out, "skipped %s: %s\n", l.ID, skipped)
			return err
		}
		if dryRun {
			return writeLine(out, l, false)
		}
		return nil
	})
	if err != nil {
		return errors.Join(err, out.Flush())
	}
	verb := "redriven"
	if dryRun {
		verb = "would be redriven"
	}
	_, err = fmt.Fprintf(out, "%d %s, %d skipped\n", counts.Redriven, verb, counts.Skipped)
	return errors.Join(err, out.Flush())
}
