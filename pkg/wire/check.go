package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"time"

	"millrace/pkg/kafkatx"
)

// Finding is one thing that Inspect has looked at.
type Finding struct {
	About   string // kafka, topics, or the name of a topic or setting
	Text    string // what was found
	Warning bool   // Text, a sentence about it, says what should be put right, though the stage runs without that
}

// Check writes what Inspect finds.
func (k Kafka) Check(ctx context.Context, stage string, log *slog.Logger, w io.Writer) error {
	findings, err := k.Inspect(ctx, stage, log)
	if err != nil {
		return err
	}
	var out strings.Builder
	for _, f := range findings {
		if f.Warning {
			out.WriteString("warning: " + f.About + " " + f.Text + "\n")
		} else {
			out.WriteString(f.About + ": " + f.Text + "\n")
		}
	}
	_, err = io.WriteString(w, out.String())
	return err
}

// Inspect looks at the cluster as a stage needs it and changes nothing. Its error is what keeps the stage from running, with the remedy.
func (k Kafka) Inspect(ctx context.Context, stage string, log *slog.Logger) ([]Finding, error) {
	client, err := k.Client(stage, log, nil)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeoutCause(ctx, StartBound, fmt.Errorf("no answer within %s", StartBound))
	defer cancel()
	if err := client.Ping(ctx); err != nil {
		return nil, fmt.Errorf("kafka.brokers: %w", err)
	}
	findings := []Finding{{About: "kafka", Text: "ok"}}
	differences, err := client.EnsureTopics(ctx, k.Specs(stage), false)
	var missing *kafkatx.MissingTopicsError
	switch {
	case errors.As(err, &missing) && k.Topics.Create:
		text := fmt.Sprintf("%d are missing and will be created by the first start: %s", len(missing.Topics), strings.Join(missing.Topics, ", "))
		findings = append(findings, Finding{About: "topics", Text: text})
	case err != nil:
		return nil, fmt.Errorf("topics: %w", err)
	default:
		findings = append(findings, Finding{About: "topics", Text: "ok"})
	}
	for _, d := range differences {
		findings = append(findings, Finding{About: "topic " + d.Topic, Text: fmt.Sprintf("has %s %q, should be %q", d.Config, d.Have, d.Want), Warning: true})
	}
	settings, err := client.BrokerSettings(ctx, k.Prefix+"."+stage, offsetsRetention, idExpiration)
	if err != nil {
		text := fmt.Sprintf("cannot be read (%v): %s and %s should be at least kafka.topics.raw_retention", err, offsetsRetention, idExpiration)
		return append(findings, Finding{About: "broker settings", Text: text, Warning: true}), nil
	}
	return append(findings, k.judgeSettings(settings)...), nil
}

// The settings of a broker that have to outlast a stage's absence.
const (
	offsetsRetention = "offsets.retention.minutes"
	idExpiration     = "transactional.id.expiration.ms"
)

// judgeSettings warns when the cluster would forget a stage that is away for less time than its input is kept. A stage whose offsets
// are forgotten does not start by itself: it cannot know where to go on.
func (k Kafka) judgeSettings(settings map[string]string) (out []Finding) {
	for _, s := range []struct {
		name string
		unit time.Duration
	}{{offsetsRetention, time.Minute}, {idExpiration, time.Millisecond}} {
		n, err := strconv.ParseInt(settings[s.name], 10, 64)
		if err != nil {
			continue // a broker that has no such setting forgets nothing by it
		}
		want := min(int64(k.Topics.RawRetention/s.unit), math.MaxInt32) // both settings are 32-bit numbers
		if n < want {
			text := fmt.Sprintf("is %d (%d days), below kafka.topics.raw_retention (%d days): a stage that is away for longer "+
				"loses its place while records wait for it: set it to %d", n, time.Duration(n)*s.unit/day, k.Topics.RawRetention/day, want)
			out = append(out, Finding{About: "broker setting " + s.name, Text: text, Warning: true})
		}
	}
	return out
}
