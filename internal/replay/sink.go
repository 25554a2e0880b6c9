package replay

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"millrace/pkg/kafkatx"
	"millrace/pkg/wire"
)

// Text writes one line a record for people: when, where, what, by whom. What records bring is cleaned of everything that could steer a
// terminal: an attacker chooses some of it.
type Text struct {
	W      io.Writer
	By     Clock
	Values bool // the value too, indented
}

// Write writes a record.
func (t Text) Write(rec kafkatx.Record) error {
	_, err := fmt.Fprintf(t.W, "%s  %s[%d]@%d  %s  %s\n", TimeOf(rec, t.By).UTC().Format("2006-01-02T15:04:05.000Z"), rec.Topic, rec.Partition, rec.Offset,
		orDash(Printable(wire.Header(rec, wire.HeaderSubject))), orDash(Printable(string(rec.Key))))
	if err != nil || !t.Values {
		return err
	}
	var pretty bytes.Buffer
	if json.Indent(&pretty, rec.Value, "  ", "  ") != nil {
		pretty.Reset()
		pretty.Write(rec.Value)
	}
	var clean strings.Builder
	for i, line := range strings.Split(pretty.String(), "\n") {
		if i > 0 {
			clean.WriteByte('\n')
		}
		clean.WriteString(Printable(line))
	}
	_, err = fmt.Fprintf(t.W, "  %s\n", clean.String())
	return err
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// Printable replaces what is not printable, line ends and direction marks included, by the replacement character.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '\uFFFD'
		}
		return r
	}, s)
}

// Lines writes NDJSON: the value of each record on a line of its own or, with Envelope, an object that has everything a record has.
type Lines struct {
	W        io.Writer
	Envelope bool
}

// envelope is a record with all that it has. One of the values is set.
type envelope struct {
	Topic     string              `json:"topic"`
	Partition int32               `json:"partition"`
	Offset    int64               `json:"offset"`
	Time      time.Time           `json:"time"`
	Key       *string             `json:"key"`
	Headers   map[string][]string `json:"headers,omitempty"`
	Value     json.RawMessage     `json:"value,omitempty"`
	Base64    []byte              `json:"value_base64,omitempty"`
}

// Write writes a record. A value that is no JSON is written as an envelope with value_base64, whatever Envelope says, so that each
// line is JSON.
func (l Lines) Write(rec kafkatx.Record) error {
	var line bytes.Buffer
	valid := json.Valid(rec.Value) && utf8.Valid(rec.Value)
	if valid && !l.Envelope {
		if bytes.ContainsAny(rec.Value, "\r\n") {
			if err := json.Compact(&line, rec.Value); err != nil {
				return fmt.Errorf("%s[%d]@%d: %w", rec.Topic, rec.Partition, rec.Offset, err)
			}
		} else {
			line.Write(rec.Value)
		}
		line.WriteByte('\n')
		_, err := l.W.Write(line.Bytes())
		return err
	}
	e := envelope{Topic: rec.Topic, Partition: rec.Partition, Offset: rec.Offset, Time: rec.Time.UTC(), Headers: map[string][]string{}}
	if rec.Key != nil {
		key := string(rec.Key)
		e.Key = &key
	}
	for _, h := range rec.Headers {
		e.Headers[h.Key] = append(e.Headers[h.Key], string(h.Value))
	}
	if valid {
		e.Value = rec.Value
	} else {
		e.Base64 = rec.Value
	}
	encoder := json.NewEncoder(&line)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(e); err != nil {
		return fmt.Errorf("%s[%d]@%d: %w", rec.Topic, rec.Partition, rec.Offset, err)
	}
	_, err := l.W.Write(line.Bytes())
	return err
}

// Producer writes transactions; a *kafkatx.Producer is one.
type Producer interface {
	Init(ctx context.Context) error
	Produce(ctx context.Context, recs []kafkatx.Record) ([]int64, error)
	Commit(ctx context.Context) error
	Abort(ctx context.Context) error
}

// HeaderOrigin says on a replayed record where it was read: topic, partition number and offset.
const HeaderOrigin = "millrace_replayed_from"

// batch is how many records a transaction of a Copy holds, and batchBytes how large they may be together.
const (
	batch      = 1000
	batchBytes = 4 << 20
)

// Copy writes records to another topic: same key, value and headers, and one header that says where each was read. A reader that reads
// committed records sees whole transactions; a replay that fails in the middle leaves those before it.
type Copy struct {
	topic      string
	partitions int
	producer   Producer
	pending    []kafkatx.Record
	bytes      int
}

// NewCopy begins a copy into a topic of so many partitions.
func NewCopy(ctx context.Context, p Producer, topic string, partitions int) (*Copy, error) {
	if err := p.Init(ctx); err != nil {
		return nil, fmt.Errorf("begin to write to %s: %w", topic, err)
	}
	return &Copy{topic: topic, partitions: partitions, producer: p}, nil
}

// Write adds a record; when enough have come together they are committed.
func (c *Copy) Write(ctx context.Context, rec kafkatx.Record) error {
	out := kafkatx.Record{Topic: c.topic, Partition: rec.Partition, Key: rec.Key, Value: rec.Value}
	if int(rec.Partition) >= c.partitions { // fewer numbers than the source has: at least one key stays together
		out.Partition = kafkatx.Partition(rec.Key, c.partitions)
	}
	out.Headers = append(append(out.Headers, rec.Headers...),
		kafkatx.Header{Key: HeaderOrigin, Value: fmt.Appendf(nil, "%s/%d/%d", rec.Topic, rec.Partition, rec.Offset)})
	c.pending = append(c.pending, out)
	c.bytes += len(rec.Value)
	if len(c.pending) < batch && c.bytes < batchBytes {
		return nil
	}
	return c.Flush(ctx)
}

// Flush commits what has been added.
func (c *Copy) Flush(ctx context.Context) error {
	if len(c.pending) == 0 {
		return nil
	}
	if _, err := c.producer.Produce(ctx, c.pending); err != nil {
		return c.giveUp(ctx, err)
	}
	if err := c.producer.Commit(ctx); err != nil {
		return c.giveUp(ctx, err)
	}
	c.pending, c.bytes = c.pending[:0], 0
	return nil
}

func (c *Copy) giveUp(ctx context.Context, err error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second) // the transaction is ended even when ctx has ended
	defer cancel()
	_ = c.producer.Abort(ctx) // the first error says more; what stays open is aborted by the broker
	return fmt.Errorf("write to %s: %w", c.topic, err)
}

// Live reports whether a topic belongs to the pipeline of a prefix: writing to it would mix replayed records with live ones.
func Live(n wire.Names, topic string) bool { return strings.HasPrefix(topic, n.Prefix+".") }

// Pace slows a replay down: at speed 1 records come as far apart as they happened, at 10 ten times as fast; 0 is as fast as possible.
type Pace struct {
	Speed float64
	By    Clock
	first time.Time // of the first record
	start time.Time // when it was passed on
}

// Wait blocks until it is the record's turn.
func (p *Pace) Wait(ctx context.Context, rec kafkatx.Record) error {
	if p.Speed <= 0 {
		return nil
	}
	at := TimeOf(rec, p.By)
	if p.start.IsZero() {
		p.first, p.start = at, time.Now()
		return nil
	}
	due := p.start.Add(time.Duration(float64(at.Sub(p.first)) / p.Speed))
	timer := time.NewTimer(time.Until(due))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
