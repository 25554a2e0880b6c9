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

// Check looks at the cluster as a stage needs it, changes nothing, and writes what it found. What may be put right later is a warning; its
// error is what keeps the stage from running, with the remedy.
func (k Kafka) Check(ctx context.Context, stage string, log *slog.Logger, w io.Writer) error {
	client, err := k.Client(stage, log, nil)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeoutCause(ctx, StartBound, fmt.Errorf("no answer within %s", StartBound))
	defer cancel()
	if err := client.Ping(ctx); err != nil {
		return fmt.Errorf("kafka.brokers: %w", err)
	}
	var out strings.Builder
	out.WriteString("kafka: ok\n")
	differences, err := client.EnsureTopics(ctx, k.Specs(stage), false)
	var missing *kafkatx.MissingTopicsError
	switch {
	case errors.As(err, &missing) && k.Topics.Create:
		fmt.Fprintf(&out, "topics: %d are missing and will be created by the first start: %s\n", len(missing.Topics), strings.Join(missing.Topics, ", "))
	case err != nil:
		return fmt.Errorf("topics: %w", err)
	default:
		out.WriteString("topics: ok\n")
	}
	for _, d := range differences {
		out.WriteString("warning: " + d.String() + "\n")
	}
	settings, err := client.BrokerSettings(ctx, k.Prefix+"."+stage, offsetsRetention, idExpiration)
	if err != nil {
		fmt.Fprintf(&out, "warning: %s and %s cannot be read (%v): both should be at least kafka.topics.raw_retention\n", offsetsRetention, idExpiration, err)
	} else {
		k.judgeSettings(&out, settings)
	}
	_, err = io.WriteString(w, out.String())
	return err
}

// The settings of a broker that have to outlast a stage's absence.
const (
	offsetsRetention = "offsets.retention.minutes"
	idExpiration     = "transactional.id.expiration.ms"
)

// judgeSettings warns when the cluster would forget a stage that is away for less time than its input is kept. A stage whose offsets
// are forgotten does not start by itself: it cannot know where to go on.
func (k Kafka) judgeSettings(out *strings.Builder, settings map[string]string) {
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
			fmt.Fprintf(out, "warning: broker setting %s is %d (%d days), below kafka.topics.raw_retention (%d days): a stage that is away for longer "+
				"loses its place while records wait for it: set it to %d\n", s.name, n, time.Duration(n)*s.unit/day, k.Topics.RawRetention/day, want)
		}
	}
}
