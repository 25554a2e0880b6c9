package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/replay"
	"millrace/internal/service"
	"millrace/pkg/wire"
)

// replayed runs the tool against a broker and returns what it wrote.
func replayed(t *testing.T, addr string, wantCode int, args ...string) (stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	args = append(args, "-set", "kafka.brokers="+addr, "-set", "kafka.prefix=test", "-set", "kafka.replication=1")
	if code := service.Run(t.Context(), program(), args, nil, strings.NewReader(""), &out, &errs); code != wantCode {
		t.Fatalf("replay %s: exit code %d, want %d: %s", strings.Join(args, " "), code, wantCode, errs.String())
	}
	return out.String(), errs.String()
}

// fillTopic writes 30 records, a minute apart, to test.enriched.entra.v1.
func fillTopic(t *testing.T, addr string) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	start := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	for i := range 30 {
		at := start.Add(time.Duration(i) * time.Minute)
		r := &kgo.Record{
			Topic: "test.enriched.entra.v1", Partition: int32(i % 3), Key: fmt.Appendf(nil, "key%d", i%3), Value: fmt.Appendf(nil, `{"n":%d}`, i), Timestamp: at,
			Headers: []kgo.RecordHeader{{Key: wire.HeaderTime, Value: []byte(at.Format(time.RFC3339))}, {Key: wire.HeaderSubject, Value: []byte("UserLoggedIn")}},
		}
		if err := cl.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestReplay(t *testing.T) {
	t.Parallel()
	k, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(3, "test.enriched.entra.v1"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	addr := k.ListenAddrs()[0]
	fillTopic(t, addr)
	window := []string{"-topic", "enriched.entra", "-from", "2026-03-02T09:05", "-to", "2026-03-02T09:08"}

	out, errs := replayed(t, addr, 0, append([]string{"show"}, window...)...)
	if lines := strings.Split(strings.TrimSpace(out), "\n"); len(lines) != 3 || !strings.HasPrefix(lines[0], "2026-03-02T09:05:00.000Z") || !strings.Contains(lines[0], "UserLoggedIn  key2") {
		t.Errorf("show: %s", out)
	}
	if !strings.Contains(errs, "3 of ") {
		t.Errorf("summary: %s", errs)
	}
	if out, _ := replayed(t, addr, 0, append([]string{"export"}, window...)...); out != "{\"n\":5}\n{\"n\":6}\n{\"n\":7}\n" {
		t.Errorf("export: %s", out)
	}

	path := filepath.Join(t.TempDir(), "all.ndjson.gz")
	replayed(t, addr, 0, "export", "-topic", "enriched.entra", "-out", path)
	if got := gunzip(t, path); strings.Count(got, "\n") != 30 {
		t.Errorf("%s", got)
	}
	if _, errs := replayed(t, addr, 1, "export", "-topic", "enriched.entra", "-out", path); !strings.Contains(errs, "exists already") {
		t.Errorf("over an old file: %s", errs)
	}

	copyArgs := append([]string{"copy", "-into", "investigation"}, window...)
	replayed(t, addr, 0, copyArgs...)
	replayed(t, addr, 0, copyArgs...)
	out, _ = replayed(t, addr, 0, "export", "-topic", "investigation", "-envelope", "-header", replay.HeaderOrigin+"=test.enriched.entra.v1/0/2")
	if strings.Count(out, "\n") != 2 || !strings.Contains(out, `"partition":0`) || !strings.Contains(out, `"value":{"n":6}`) {
		t.Errorf("copied: %s", out)
	}
}

func gunzip(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	zip, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(zip)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestUsage(t *testing.T) {
	t.Parallel()
	const nowhere = "127.0.0.1:1"
	for _, tt := range []struct{ args, want string }{
		{"", "replay show"},
		{"copy", "-into"},
		{"copy -into test.raw.entra.v1", "belongs to the pipeline"},
		{"show -topic enriched.extra", "-topic"},
		{"show -from yesterday", "-from"},
		{"show -to never", "-to"},
		{"show -by wall", "-by"},
		{"show -partition x", "-partition"},
		{"show -tenant example.org", "-tenant"},
		{"show -header x", "-header"},
		{"show -speed -1", "-speed"},
		{"show -from 1h -to 2h", "empty"},
		{"show extra", "extra"},
	} {
		if _, errs := replayed(t, nowhere, 2, strings.Fields(tt.args)...); !strings.Contains(errs, tt.want) {
			t.Errorf("%s: %s; want it to say %s", tt.args, errs, tt.want)
		}
	}
	if _, errs := replayed(t, nowhere, 1, "show"); !strings.Contains(errs, nowhere) {
		t.Errorf("an unreachable broker: %s", errs)
	}
}
