package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/ingester/internal/verify"
	"millrace/internal/broker"
	"millrace/internal/service"
	"millrace/pkg/wire"
)

// copyTo copies the topics that verify reads to another broker, each record at the same offset of the same partition: what change turns into
// nil, and what is no record at the source, becomes a filler that belongs to nobody.
func (w *world) copyTo(to *broker.Broker, seen *topic, change func(*kgo.Record) *kgo.Record) Config {
	w.t.Helper()
	cfg := w.cfg
	cfg.Kafka.Brokers = []string{to.Addr()}
	client, err := cfg.Kafka.Open(w.t.Context(), wire.StageIngester, w.runtime().Log, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	client.Close()
	cl, err := kgo.NewClient(kgo.SeedBrokers(to.Addr()), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchMaxBytes(12<<20))
	if err != nil {
		w.t.Fatal(err)
	}
	defer cl.Close()
	type place struct {
		topic     string
		partition int32
	}
	next := make(map[place]int64)
	var all []*kgo.Record
	for _, r := range seen.all() {
		at := place{r.Topic, r.Partition}
		for ; next[at] < r.Offset; next[at]++ {
			all = append(all, &kgo.Record{Topic: r.Topic, Partition: r.Partition, Key: []byte("filler"), Timestamp: r.Timestamp})
		}
		next[at]++
		c := &kgo.Record{Topic: r.Topic, Partition: r.Partition, Key: r.Key, Value: r.Value, Headers: r.Headers, Timestamp: r.Timestamp}
		if c = change(c); c == nil {
			c = &kgo.Record{Topic: r.Topic, Partition: r.Partition, Key: []byte("filler"), Timestamp: r.Timestamp}
		}
		all = append(all, c)
	}
	if err := cl.ProduceSync(w.t.Context(), all...).FirstErr(); err != nil {
		w.t.Fatal(err)
	}
	return cfg
}

// verified runs `ingester verify` as main does and reads its report.
func verified(t testing.TB, cfg Config, args ...string) (*VerifyReport, int) {
	t.Helper()
	var out, errs bytes.Buffer
	args = append([]string{
		"verify", "-json", "-set", "kafka.brokers=" + cfg.Kafka.Brokers[0], "-set", "kafka.partitions=3", "-set", "kafka.control_partitions=2",
		"-tenant", fakeTenant,
	}, args...)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	code := service.Run(ctx, Program(), args, nil, nil, &out, &errs)
	report := &VerifyReport{}
	if err := json.Unmarshal(out.Bytes(), report); err != nil {
		t.Fatalf("exit %d: %v\n%s\n%s", code, err, out.String(), errs.String())
	}
	return report, code
}

func findings(r *VerifyReport) string {
	var all []string
	for _, p := range r.Problems {
		all = append(all, string(p.Finding))
	}
	return strings.Join(all, " ")
}

func TestVerify(t *testing.T) {
	t.Parallel()
	f := newFakeFeed(t)
	w := fakeWorld(t, f)
	names := w.cfg.Kafka.Names()
	seen := w.read(append(w.rawTopics(), names.DeadLetter(false), names.DeadLetter(true), names.Ledger(), names.Checkpoints())...)
	big := strings.Replace(record(4), `"Note":"`, `"Note":"`+strings.Repeat("x", 9<<20), 1)
	f.add("empty", "[]", time.Hour)
	f.add("plain", array(record(1), record(2), record(3)), 2*time.Hour)
	f.add("big", array(big, record(5)), 3*time.Hour)
	for i := range 10 {
		f.add("more"+string(rune('a'+i)), array(record(100+2*i), record(101+2*i)), time.Duration(20+i)*time.Hour)
	}
	const blobs, records = 13, 25
	ledgers, raws := func(r *kgo.Record) bool { return r.Topic == names.Ledger() }, func(r *kgo.Record) bool { return strings.Contains(r.Topic, ".raw.") }
	count := func(what func(*kgo.Record) bool) (n int) {
		for _, r := range seen.all() {
			if what(r) {
				n++
			}
		}
		return n
	}
	w.run(func() bool { return count(raws) == records-1 && count(ledgers) == blobs })
	report, code := verified(t, w.cfg)
	if code != 0 || !report.Complete || len(report.Streams) != 1 {
		t.Fatalf("exit %d: %+v", code, report)
	}
	if s := report.Streams[0]; s.Blobs != blobs || s.Proved != blobs || s.Records != records || s.DeadLetters != 1 {
		t.Errorf("stream %+v", s)
	}
	of := func(topic, id string) func(*kgo.Record) bool {
		return func(r *kgo.Record) bool {
			return strings.Contains(r.Topic, topic) && (header(r, "ce_contentid") == id || topic == "ledger" && strings.Contains(string(r.Value), `"content_id":"`+id+`"`))
		}
	}
	once := func(hit func(*kgo.Record) bool, change func(*kgo.Record) *kgo.Record) func(*kgo.Record) *kgo.Record {
		done := false
		return func(r *kgo.Record) *kgo.Record {
			if done || !hit(r) {
				return r
			}
			done = true
			return change(r)
		}
	}
	remove := func(*kgo.Record) *kgo.Record { return nil }
	edit := func(old, new string) func(*kgo.Record) *kgo.Record {
		return func(r *kgo.Record) *kgo.Record {
			r.Value = bytes.Replace(bytes.Clone(r.Value), []byte(old), []byte(new), 1)
			return r
		}
	}
	tests := []struct {
		name   string
		change func(*kgo.Record) *kgo.Record
		want   verify.Finding // "" = complete
		blob   string
	}{
		{"copied", func(r *kgo.Record) *kgo.Record { return r }, "", ""},
		{"record removed", once(of("raw", "plain"), remove), verify.RecordsMissing, "plain"},
		{"record changed", once(of("raw", "plain"), edit("FileDownloaded", "FileDOWNloaded")), verify.RecordsChanged, "plain"},
		{"dead letter changed", once(of("deadletter", "big"), edit("xxx", "xyx")), verify.RecordsChanged, "big"},
		{"dead letter removed", once(of("deadletter", "big"), remove), verify.RecordsMissing, "big"},
		{"record of a blob under another id", once(of("raw", "plain"), func(r *kgo.Record) *kgo.Record {
			for i := range r.Headers {
				if r.Headers[i].Key == "ce_contentid" {
					r.Headers = append(r.Headers[:i:i], append([]kgo.RecordHeader{{Key: "ce_contentid", Value: []byte("morea")}}, r.Headers[i+1:]...)...)
				}
			}
			return r
		}), verify.RecordsMissing, "plain"},
		{"blob missing from the ledger", once(of("ledger", "plain"), remove), verify.LedgerMissing, "plain"},
		{"empty blob missing from the ledger", once(of("ledger", "empty"), remove), verify.LedgerMissing, ""},
		{"ledger entry without its records", of2(of("raw", "plain"), remove), verify.RecordsMissing, "plain"},
		{"ledger entry without offsets", once(of("ledger", "plain"), edit(`"offsets":`, `"gone":`)), verify.LedgerDiffers, "plain"},
		{"ledger value is no entry", once(of("ledger", "plain"), edit(`{`, ``)), verify.LedgerDiffers, ""},
	}
	t.Run("copies", func(t *testing.T) {
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				t.Parallel()
				b, err := broker.Open(broker.Config{Dir: t.TempDir()})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() {
					if err := b.Close(); err != nil {
						t.Error(err)
					}
				})
				report, code := verified(t, w.copyTo(b, seen, tt.change))
				if (code == 0) != (tt.want == "") || report.Complete != (code == 0) {
					t.Errorf("exit %d, complete %v: %s", code, report.Complete, findings(report))
				}
				found := tt.want == ""
				for _, p := range report.Problems {
					found = found || p.Finding == tt.want && p.ContentID == tt.blob
				}
				if !found {
					t.Errorf("found %+v, want %s of %q", report.Problems, tt.want, tt.blob)
				}
			})
		}
	})
	w.verifyRetention(names)
}

// of2 changes every record that is hit.
func of2(hit func(*kgo.Record) bool, change func(*kgo.Record) *kgo.Record) func(*kgo.Record) *kgo.Record {
	return func(r *kgo.Record) *kgo.Record {
		if hit(r) {
			return change(r)
		}
		return r
	}
}

// verifyRetention lets retention pass over the raw records: nothing is wrong, and nothing can be proved any more.
func (w *world) verifyRetention(names wire.Names) {
	w.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.broker.Addr()))
	if err != nil {
		w.t.Fatal(err)
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	ends, err := adm.ListEndOffsets(w.t.Context(), names.Raw("general"))
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := adm.DeleteRecords(w.t.Context(), ends.Offsets()); err != nil {
		w.t.Fatal(err)
	}
	report, code := verified(w.t, w.cfg)
	if code != 1 || findings(report) != string(verify.RawNotHeld) || report.Streams[0].NotHeld == 0 {
		w.t.Errorf("after retention: exit %d, %s, %+v", code, findings(report), report.Streams[0])
	}
	report, code = verified(w.t, w.cfg, "-to", time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	if code != 1 || !strings.Contains(findings(report), string(verify.NotDone)) {
		w.t.Errorf("a range that is not over: exit %d, %s", code, findings(report))
	}
	var out bytes.Buffer
	if err := printReport(&out, report, false); err != nil || !strings.Contains(out.String(), "NOT complete") || !strings.Contains(out.String(), "retention") {
		w.t.Errorf("%v\n%s", err, out.String())
	}
}

func TestVerifyIsRefused(t *testing.T) {
	t.Parallel()
	for _, opts := range []VerifyOptions{
		{Tenant: "example.org"},
		{Tenant: fakeTenant, From: time.Now(), To: time.Now().Add(-time.Hour)},
	} {
		var usage service.UsageError
		if _, err := Verify(t.Context(), DefaultConfig(), service.Runtime{}, opts); !errors.As(err, &usage) {
			t.Errorf("%+v: error %v", opts, err)
		}
	}
	var out, errs bytes.Buffer
	if code := service.Run(t.Context(), Program(), []string{"verify", "-from", "yesterday"}, nil, nil, &out, &errs); code != 2 {
		t.Errorf("exit %d: %s", code, errs.String())
	}
}
