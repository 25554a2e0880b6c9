package kafkatx

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	kafka "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
)

// trim removes the records of a partition before an offset, as retention does.
func trim(t *testing.T, brokers []string, topic string, before int64) {
	t.Helper()
	var to kadm.Offsets
	to.Add(kadm.Offset{Topic: topic, Partition: 0, At: before})
	if _, err := admin(t, brokers).DeleteRecords(testContext(t), to); err != nil {
		t.Fatal(err)
	}
}

func TestReadingBesideTheLog(t *testing.T) {
	t.Parallel()
	k := newCluster(t, 1, kfake.SeedTopics(1, "kept"))
	c := newClient(t, k.ListenAddrs())
	fill(t, k.ListenAddrs(), "kept", 1, 0, 10)
	trim(t, k.ListenAddrs(), "kept", 5)
	nothing := func(Record) error { return errors.New("a record was passed on") }
	for _, tc := range []struct {
		name     string
		from, to int64
		want     string
	}{
		{"before it", 2, 8, "offsets 2 to 4 (3) were removed by retention"},
		{"behind it", 20, 30, "the next offset to read is 20 but the log ends at 10"},
	} {
		err := c.ReadRange(testContext(t), "kept", 0, tc.from, tc.to, nothing)
		if _, ok := errors.AsType[*OutOfRangeError](err); !ok {
			t.Errorf("ReadRange %s: %v", tc.name, err)
		}
		wantError(t, err, tc.want)
	}
	// State that retention removes while it is read is not missed; state that was there and is not any more is.
	tp := topicPartition{"kept", 0}
	var got []int64
	err := c.scan(testContext(t), tp, 0, 10, c.skipGap, each(func(r Record) error { got = append(got, r.Offset); return nil }))
	if err != nil || fmt.Sprint(got) != "[5 6 7 8 9]" {
		t.Errorf("scan over a gap: %v, %v", got, err)
	}
	if err := c.scan(testContext(t), tp, 20, 30, c.skipGap, each(nothing)); err == nil {
		t.Error("scan behind the end: no error")
	}
}

func TestBrokerSettings(t *testing.T) {
	t.Parallel()
	k := newCluster(t, 2)
	got, err := newClient(t, k.ListenAddrs()).BrokerSettings(testContext(t), "group", "group.min.session.timeout.ms")
	if err != nil || got["group.min.session.timeout.ms"] != "500" {
		t.Errorf("BrokerSettings: %v, %v", got, err)
	}
}

// TestBatchesAreSplitBySize writes records that do not compress and so make batches of many times the size that the producer sends.
func TestBatchesAreSplitBySize(t *testing.T) {
	t.Parallel()
	k := newCluster(t, 1, kfake.SeedTopics(1, "large"))
	p, err := newClient(t, k.ListenAddrs()).NewProducer(ProducerConfig{TransactionalID: "large", MaxBatchBytes: 20000})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Init(testContext(t)); err != nil {
		t.Fatal(err)
	}
	const n = 300
	r := rand.New(rand.NewPCG(1, 2))
	recs := make([]Record, n)
	for i := range recs {
		recs[i] = Record{Topic: "large", Key: fmt.Append(nil, i), Value: make([]byte, 1000)}
		for j := range recs[i].Value {
			recs[i].Value[j] = byte(r.Uint32())
		}
	}
	groups := p.byPartition(recs)
	groups[0].rawLimit = rawBatchBytes // what it is after many records that do compress
	if err := p.encode(groups, n, time.Now()); err != nil || len(groups) != 1 || len(groups[0].batches) < n*1000/20000 {
		t.Fatalf("encode: %d groups, %v", len(groups), err)
	}
	for _, b := range groups[0].batches {
		if len(b.bytes) > 20000 {
			t.Errorf("a batch of %d bytes", len(b.bytes))
		}
	}
	p.release()
	at, err := p.Produce(testContext(t), recs)
	if err != nil {
		t.Fatal(err)
	}
	for i, o := range at {
		if o != int64(i) {
			t.Fatalf("record %d is at %d", i, o)
		}
	}
	if err := p.Commit(testContext(t)); err != nil {
		t.Fatal(err)
	}
	checkOnce(t, k.ListenAddrs(), "large", n)
}

// broken is a handler that fails where it is told to.
type broken struct{ load, process, next error }

func (h *broken) Load(Record) error { return h.load }
func (h *broken) Close()            {}
func (h *broken) Process(context.Context, []Record) (Result, error) {
	return Result{State: []Record{{Value: []byte("x")}}}, h.process
}

// brokenFeeder is the same without inputs.
type brokenFeeder struct{ broken }

func (h *brokenFeeder) Next(context.Context) (Result, error) { return Result{}, h.next }

func TestHandlersThatFailStopTheStage(t *testing.T) {
	t.Parallel()
	k := newCluster(t, 1, kfake.SeedTopics(1, "in", "state", "empty", "status"))
	fill(t, k.ListenAddrs(), "in", 1, 0, 1)
	fill(t, k.ListenAddrs(), "state", 1, 0, 1)
	bad := errors.New("broken on purpose")
	for _, tc := range []struct {
		name   string
		inputs []string
		make   func(int32) (Handler, error)
		want   string
	}{
		{"new", []string{"in"}, func(int32) (Handler, error) { return nil, bad }, "make handler"},
		{"load", []string{"in"}, func(int32) (Handler, error) { return &broken{load: bad}, nil }, "load state"},
		{"process", []string{"in"}, func(int32) (Handler, error) { return &broken{process: bad}, nil }, "process a batch of 1 records"},
		{"next", nil, func(int32) (Handler, error) { return &brokenFeeder{broken{next: bad}}, nil }, "next batch"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			cfg := testStage("broken-"+tc.name, tc.inputs, "state", "")
			cfg.New = tc.make
			err := start(t, k.ListenAddrs(), cfg).fails(t)
			if !errors.Is(err, bad) {
				t.Errorf("Run: %v", err)
			}
			wantError(t, err, tc.want, "number 0")
		})
	}
	for name, inputs := range map[string][]string{"feeder": {"in"}, "processor": nil} {
		t.Run(name+" in the wrong place", func(t *testing.T) {
			t.Parallel()
			cfg := testStage("wrong-"+name, inputs, "empty", "")
			cfg.New = func(int32) (Handler, error) {
				if name == "feeder" {
					return &ticker{}, nil
				}
				return &broken{}, nil
			}
			wantError(t, start(t, k.ListenAddrs(), cfg).fails(t), "want a Processor for a stage with inputs")
		})
	}
}

func TestSessionTimeoutOutsideOfTheBrokersBounds(t *testing.T) {
	t.Parallel()
	k := newCluster(t, 1, kfake.SeedTopics(1, "in", "status"))
	cfg := testStage("hasty", []string{"in"}, "", "out")
	cfg.SessionTimeout /= 100
	wantError(t, start(t, k.ListenAddrs(), cfg).fails(t), "group.min.session.timeout.ms")
}

func TestIncompleteConfigurations(t *testing.T) {
	t.Parallel()
	if _, err := NewClient(ClientConfig{}); err == nil {
		t.Error("a client without brokers")
	}
	c := newClient(t, []string{"127.0.0.1:1"})
	for _, cfg := range []ProducerConfig{{}, {TransactionalID: "x", Codec: "lzma"}} {
		if _, err := c.NewProducer(cfg); err == nil {
			t.Errorf("producer %+v", cfg)
		}
	}
	p, err := c.NewProducer(ProducerConfig{TransactionalID: "x"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Produce(testContext(t), []Record{{Topic: "t"}})
	wantError(t, err, "before Init")
	full := testStage("full", []string{"in"}, "", "out")
	for name, spoil := range map[string]func(*StageConfig){
		"no name": func(c *StageConfig) { c.Name = "" }, "no handler": func(c *StageConfig) { c.New = nil },
		"nothing to read": func(c *StageConfig) { c.Inputs = nil }, "no such codec": func(c *StageConfig) { c.Codec = "lzma" },
	} {
		cfg := full
		spoil(&cfg)
		if err := Run(testContext(t), c, cfg); err == nil || !strings.HasPrefix(err.Error(), "stage: ") {
			t.Errorf("stage with %s: %v", name, err)
		}
	}
}

func TestConnectionErrorsSayWhatIsWrong(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		err  error
		want string
	}{
		{kafka.SASLAuthenticationFailed, "refuses the user name or password"},
		{kafka.UnsupportedSASLMechanism, "does not offer SASL mechanism none"},
		{io.ErrUnexpectedEOF, "expects TLS (configured: false) or SASL (configured: none)"},
		{&tls.CertificateVerificationError{Err: errors.New("unknown authority")}, "check the CA file"},
		{&net.OpError{Op: "dial", Err: errors.New("refused")}, "nobody listens there"},
	} {
		err := explain(fmt.Errorf("ping: %w", tc.err), ClientConfig{})
		if !errors.Is(err, tc.err) {
			t.Errorf("%v: lost its cause", err)
		}
		wantError(t, err, tc.want)
	}
	if plain := errors.New("anything else"); !errors.Is(explain(plain, ClientConfig{}), plain) {
		t.Error("an error that says enough was changed")
	}
}

func TestMarkersOfAllShapes(t *testing.T) {
	t.Parallel()
	c := testCodecs(t)
	for _, tc := range []struct {
		name  string
		batch []byte
		abort bool
		bad   bool
	}{
		{"abort", batchOf(codec(attrControl), 1, appendRecord(nil, &Record{Key: []byte{0, 0, 0, 0}}, 0, 0)), true, false},
		{"commit", batchOf(codec(attrControl), 1, appendRecord(nil, &Record{Key: []byte{0, 0, 0, 1}}, 0, 0)), false, false},
		{"compacted away", batchOf(codec(attrControl), 0, nil), false, false},
		{"key too short", batchOf(codec(attrControl), 1, appendRecord(nil, &Record{Key: []byte{0}}, 0, 0)), false, true},
		{"not a record", batchOf(codec(attrControl), 1, make([]byte, 9)), false, true},
	} {
		b, _, err := nextBatch(tc.batch)
		if err != nil {
			t.Fatalf("%s: %v", tc.name, err)
		}
		if abort, err := c.markerIsAbort(&b); abort != tc.abort || (err != nil) != tc.bad {
			t.Errorf("%s: abort %t, %v", tc.name, abort, err)
		}
		_, _, err = (&Client{codecs: c}).visible("t", &fetchedPartition{Records: sizedBytes{tc.batch}}, 0)
		if (err != nil) != tc.bad {
			t.Errorf("%s: visible: %v", tc.name, err)
		}
	}
	// Bytes that move nobody on are an error and no endless loop.
	old := batchOf(codecNone, 1, appendRecord(nil, &Record{}, 0, 0))
	binary.BigEndian.PutUint64(old, 3)
	_, _, err := (&Client{codecs: c}).visible("t", &fetchedPartition{Records: sizedBytes{old}}, 10)
	wantError(t, err, "nothing whole at or behind it")
}
