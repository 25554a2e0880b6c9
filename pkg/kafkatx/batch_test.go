package kafkatx

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/testkit"
)

var allCodecs = []codec{codecNone, codecGzip, codecSnappy, codecLz4, codecZstd}

func testCodecs(t testing.TB) *codecs {
	t.Helper()
	c, err := newCodecs()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// decodeBatch returns the records of a batch from an offset on.
func decodeBatch(c *codecs, b *batch, from int64) ([]Record, error) {
	spare := maxDecoded
	return c.records(nil, b, "", 0, from, &spare)
}

func testRecords(n int) []Record {
	base := time.UnixMilli(1767225600000).UTC()
	recs := make([]Record, n)
	for i := range recs {
		recs[i] = Record{
			Offset: int64(i), Time: base.Add(time.Duration(i%7-3) * time.Minute), Key: fmt.Append(nil, "key-", i), Value: bytes.Repeat([]byte{byte(i)}, i),
			Headers: []Header{{Key: "content-type", Value: []byte("application/json")}, {Key: "n", Value: fmt.Append(nil, i)}},
		}
	}
	recs[0].Key, recs[0].Headers = nil, nil
	recs[n-1].Value = nil
	recs[n/2].Headers = append(recs[n/2].Headers, Header{Key: "null"}, Header{Key: "", Value: []byte{}})
	return recs
}

func TestBatchRoundTrip(t *testing.T) {
	t.Parallel()
	c := testCodecs(t)
	for _, kind := range allCodecs {
		want := testRecords(300)
		set, _, err := c.appendBatch([]byte("before"), kind, want, time.Now(), producerState{id: 7, epoch: 3, sequence: 11, transactional: true})
		if err != nil {
			t.Fatalf("codec %d: %v", kind, err)
		}
		b, rest, err := nextBatch(append(set[len("before"):], "after"...))
		if err != nil {
			t.Fatalf("codec %d: %v", kind, err)
		}
		if string(rest) != "after" || b.producer != 7 || !b.transactional() || b.control() || b.last() != 299 {
			t.Errorf("codec %d: header %+v, rest %q", kind, b, rest)
		}
		got, err := decodeBatch(c, &b, 0)
		if err != nil {
			t.Fatalf("codec %d: %v", kind, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("codec %d:\n%s", kind, diff)
		}
		if got, err = decodeBatch(c, &b, 299); err != nil || len(got) != 1 {
			t.Errorf("codec %d: from the last offset: %d records, %v", kind, len(got), err)
		}
	}
}

func TestRecordSizeIsABound(t *testing.T) {
	t.Parallel()
	for _, r := range testRecords(200) {
		if got, bound := len(appendRecord(nil, &r, 1<<20, 1<<30)), recordSize(&r); got > bound {
			t.Errorf("record %d: %d bytes, bound %d", r.Offset, got, bound)
		}
	}
}

// TestForeignBatches reads what an independent client wrote with each codec.
func TestForeignBatches(t *testing.T) {
	t.Parallel()
	k := newCluster(t, 1)
	createTopics(t, k.ListenAddrs(), 1, "foreign")
	n := 0
	for _, comp := range []kgo.CompressionCodec{
		kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression(),
	} {
		cl, err := kgo.NewClient(kgo.SeedBrokers(k.ListenAddrs()...), kgo.ProducerBatchCompression(comp), kgo.DefaultProduceTopic("foreign"))
		if err != nil {
			t.Fatal(err)
		}
		for range 100 {
			r := kgo.StringRecord(strings.Repeat(fmt.Sprint("value ", n), 50))
			r.Headers = []kgo.RecordHeader{{Key: "n", Value: fmt.Append(nil, n)}}
			cl.Produce(testContext(t), r, nil)
			n++
		}
		if err := cl.Flush(testContext(t)); err != nil {
			t.Fatal(err)
		}
		cl.Close()
	}
	i := 0
	err := newClient(t, k.ListenAddrs()).ReadRange(testContext(t), "foreign", 0, 0, int64(n), func(r Record) error {
		if want := strings.Repeat(fmt.Sprint("value ", i), 50); string(r.Value) != want || string(r.Headers[0].Value) != fmt.Sprint(i) || r.Offset != int64(i) {
			return fmt.Errorf("record %d at %d is %.20q", i, r.Offset, r.Value)
		}
		i++
		return nil
	})
	if err != nil || i != n {
		t.Errorf("read %d of %d: %v", i, n, err)
	}
}

// batchOf wraps records that are already encoded, and perhaps compressed, in a batch with a correct checksum.
func batchOf(kind codec, count int, body []byte) []byte {
	b := make([]byte, headerSize, headerSize+len(body))
	b = append(b, body...)
	binary.BigEndian.PutUint32(b[atLength:], uint32(len(b)-lengthSkips))
	b[atMagic] = 2
	binary.BigEndian.PutUint16(b[atAttrs:], uint16(kind))
	binary.BigEndian.PutUint32(b[atLastDelta:], uint32(max(count-1, 0)))
	binary.BigEndian.PutUint32(b[atCount:], uint32(count))
	binary.BigEndian.PutUint32(b[atCRC:], crc32.Checksum(b[atAttrs:], castagnoli))
	return b
}

func TestHostileBatches(t *testing.T) {
	t.Parallel()
	c := testCodecs(t)
	bomb := make([]byte, maxInflated+1)
	for _, kind := range allCodecs[1:] {
		body, err := c.deflate(kind, nil, bomb)
		if err != nil {
			t.Fatal(err)
		}
		b, _, err := nextBatch(batchOf(kind, 1, body))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decodeBatch(c, &b, 0); !errors.Is(err, errInflated) {
			t.Errorf("bomb, codec %d: %v", kind, err)
		}
	}
	record := appendRecord(nil, &Record{Key: []byte("k"), Value: []byte("v")}, 0, 0)
	with := func(at int, v byte) []byte {
		b := bytes.Clone(record)
		b[at] = v
		return b
	}
	for _, tc := range []struct {
		name string
		set  []byte
		body bool // the header is good, the records are not
	}{
		{"wrong checksum", func() []byte { b := batchOf(codecNone, 1, record); b[len(b)-1]++; return b }(), false},
		{"old format", func() []byte { b := batchOf(codecNone, 1, record); b[atMagic] = 1; return b }(), false},
		{"length shorter than the header", func() []byte { b := batchOf(codecNone, 1, record); b[atLength+3] = 3; return b }(), false},
		{"negative length", func() []byte { b := batchOf(codecNone, 1, record); b[atLength] = 0xff; return b }(), false},
		{"more records than bytes", batchOf(codecNone, 1<<30, record), true},
		{"fewer records than bytes", batchOf(codecNone, 1, append(bytes.Clone(record), record...)), true},
		{"record longer than the batch", batchOf(codecNone, 1, with(0, 0x7e)), true},
		{"negative record length", batchOf(codecNone, 1, with(0, 1)), true},
		{"offset beyond the batch", batchOf(codecNone, 1, with(3, 2)), true},
		{"key longer than the record", batchOf(codecNone, 1, with(4, 0x7e)), true},
		{"more headers than bytes", batchOf(codecNone, 1, with(len(record)-1, 0x7e)), true},
		{"unknown codec", batchOf(codec(7), 1, record), true},
		{"garbage for gzip", batchOf(codecGzip, 1, record), true},
		{"garbage for snappy", batchOf(codecSnappy, 1, record), true},
		{"xerial cut off", batchOf(codecSnappy, 1, []byte(xerialHeader+"\xff\xff\xff\xff")), true},
		{"garbage for lz4", batchOf(codecLz4, 1, record), true},
		{"garbage for zstd", batchOf(codecZstd, 1, record), true},
	} {
		b, _, err := nextBatch(tc.set)
		if tc.body && err == nil {
			_, err = decodeBatch(c, &b, 0)
		} else if tc.body {
			t.Errorf("%s: header: %v", tc.name, err)
		}
		if err == nil || errors.Is(err, errPartial) {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
	whole := batchOf(codecNone, 1, record)
	for n := range whole {
		if _, _, err := nextBatch(whole[:n]); !errors.Is(err, errPartial) {
			t.Fatalf("first %d bytes of a batch: %v", n, err)
		}
	}
}

// TestHostileBatchesAreBounded gives the decoders batches that ask for far more memory than they are long, and measures all that is allocated on the way.
func TestHostileBatchesAreBounded(t *testing.T) {
	c := testCodecs(t)
	if w := int(reflect.TypeFor[Record]().Size()); w != recordWeight {
		t.Errorf("a Record takes %d bytes, recordWeight says %d", w, recordWeight)
	}
	if w := int(reflect.TypeFor[Header]().Size()); w != headerWeight {
		t.Errorf("a Header takes %d bytes, headerWeight says %d", w, headerWeight)
	}
	empty := appendRecord(nil, &Record{}, 0, 0)
	empties := bytes.Repeat(empty, maxInflated/len(empty))
	headers := appendRecord(nil, &Record{Headers: make([]Header, maxInflated/2-100)}, 0, 0)
	whole := appendRecord(nil, &Record{Value: make([]byte, maxInflated-100)}, 0, 0)
	kinds := allCodecs
	if testkit.Race {
		kinds = []codec{codecZstd} // the others take long then
	}
	for _, kind := range kinds {
		for _, tc := range []struct {
			name  string
			count int
			body  []byte
			times int // how often the batch comes, one behind the other
			want  error
			limit uint64 // in multiples of maxInflated; what is thrown away on the way counts
		}{
			{"nothing but zeros", 1, make([]byte, maxInflated+1), 1, errInflated, 4},
			{"empty records", maxInflated / len(empty), empties, 1, errHeavy, 4},
			{"empty headers", 1, headers, 1, errHeavy, 4},
			{"one large record again and again", 1, whole, 8, nil, 6},
		} {
			if kind == codecNone && (len(tc.body) > maxInflated || tc.times > 1) {
				continue // not compressed: it is as large as it is
			}
			body, err := c.deflate(kind, nil, tc.body)
			if err != nil {
				t.Fatal(err)
			}
			var set []byte
			for i := range tc.times {
				b := batchOf(kind, tc.count, body)
				binary.BigEndian.PutUint64(b, uint64(i))
				set = append(set, b...)
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			recs, next, err := (&Client{codecs: c}).visible("t", &fetchedPartition{Records: sizedBytes{set}}, 0)
			runtime.ReadMemStats(&after)
			if !errors.Is(err, tc.want) {
				t.Errorf("%s, codec %d: %v, want %v", tc.name, kind, err, tc.want)
			}
			if tc.want == nil && (len(recs) == 0 || next != int64(len(recs))) {
				t.Errorf("%s, codec %d: %d records, next %d", tc.name, kind, len(recs), next)
			}
			used := after.TotalAlloc - before.TotalAlloc
			t.Logf("%s, codec %d: %d bytes in, %d MiB allocated", tc.name, kind, len(set), used>>20)
			if used > tc.limit*maxInflated {
				t.Errorf("%s, codec %d: %d MiB allocated, more than %d times %d MiB", tc.name, kind, used>>20, tc.limit, maxInflated>>20)
			}
		}
	}
}

// TestHostileLengthsAreBounded gives the decoder of fetch responses lengths with nothing behind them.
func TestHostileLengthsAreBounded(t *testing.T) {
	whole := fetchFrame(t, testFetchResponse(t, codecNone))
	for at := range whole {
		hostile := bytes.Clone(whole)
		copy(hostile[at:], []byte{0x0f, 0xff, 0xff, 0xff})
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_ = new(fetchResponse).decode(hostile)
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > 2*trustedSize {
			t.Fatalf("length at %d: %d MiB allocated for %d bytes", at, used>>20, len(hostile))
		}
	}
}

// testFetchResponse is a response with two topics, an aborted transaction and some batches.
func testFetchResponse(t testing.TB, kind codec) *fetchResponse {
	t.Helper()
	b, _, err := testCodecs(t).appendBatch(nil, kind, testRecords(5), time.UnixMilli(0), producerState{id: 1, transactional: true})
	if err != nil {
		t.Fatal(err)
	}
	marker := batchOf(codec(attrControl|attrTransactional), 1, appendRecord(nil, &Record{Key: []byte{0, 0, 0, 0}}, 0, 0))
	binary.BigEndian.PutUint64(marker, 5)
	return &fetchResponse{ThrottleMs: 1, SessionID: 2, Topics: []fetchedTopic{
		{Name: "a", Partitions: []fetchedPartition{
			{HighWatermark: 6, LastStableOffset: 6, Aborted: []abortedTxn{{1, 0}}, PreferredReplica: -1, Records: sizedBytes{append(b, marker...)}},
			{Index: 1, ErrorCode: 1, HighWatermark: -1, LastStableOffset: -1, PreferredReplica: -1},
		}},
		{Name: "b", Partitions: []fetchedPartition{{HighWatermark: 5, LastStableOffset: 5, Aborted: []abortedTxn{{2, 7}}, Records: sizedBytes{b}}}},
	}}
}

// fetchFrame encodes a response as kafka-go does, without size and correlation id.
func fetchFrame(t testing.TB, res *fetchResponse) []byte {
	t.Helper()
	registerMessages()
	var w bytes.Buffer
	if err := protocol.WriteResponse(&w, 11, 0, res); err != nil {
		t.Fatal(err)
	}
	return w.Bytes()[8:]
}

// decode reads a response the way that the transport does.
func (f *fetchResponse) decode(frame []byte) error {
	registerMessages()
	head := binary.BigEndian.AppendUint32(nil, uint32(len(frame)+4))
	_, msg, err := protocol.ReadResponse(io.MultiReader(bytes.NewReader(append(head, 0, 0, 0, 0)), bytes.NewReader(frame)), protocol.Fetch, 11)
	if err == nil {
		*f = *msg.(*fetchResponse)
	}
	return err
}

func TestFetchResponseRoundTrip(t *testing.T) {
	t.Parallel()
	want := testFetchResponse(t, codecZstd)
	frame := fetchFrame(t, want)
	var got fetchResponse
	if err := got.decode(frame); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, &got, cmp.AllowUnexported(sizedBytes{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for n := range frame {
		if err := new(fetchResponse).decode(frame[:n]); err == nil {
			t.Fatalf("the first %d of %d bytes are taken for a response", n, len(frame))
		}
	}
}

func FuzzFetchResponse(f *testing.F) {
	for _, kind := range allCodecs {
		f.Add(fetchFrame(f, testFetchResponse(f, kind)))
	}
	client := &Client{codecs: testCodecs(f)}
	f.Fuzz(func(t *testing.T, frame []byte) {
		var res fetchResponse
		if res.decode(frame) != nil {
			return
		}
		for i := range res.Topics {
			for j := range res.Topics[i].Partitions {
				checkVisible(t, client, &res.Topics[i].Partitions[j])
			}
		}
	})
}

func FuzzRecordSet(f *testing.F) {
	c := testCodecs(f)
	for _, kind := range allCodecs {
		b, _, err := c.appendBatch(nil, kind, testRecords(5), time.Now(), producerState{})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add(batchOf(codec(attrControl), 1, appendRecord(nil, &Record{Key: []byte{0, 0, 0, 1}}, 0, 0)))
	client := &Client{codecs: c}
	f.Fuzz(func(t *testing.T, set []byte) {
		checkVisible(t, client, &fetchedPartition{Records: sizedBytes{set}, Aborted: []abortedTxn{{1, 0}}})
	})
}

// checkVisible decodes hostile records, and fails the test if what comes out cannot be.
func checkVisible(t *testing.T, c *Client, p *fetchedPartition) {
	fixSums(p.Records.b)
	recs, next, err := c.visible("t", p, 0)
	if err == nil && next < 0 {
		t.Errorf("next offset %d", next)
	}
	for i := range recs {
		if recs[i].Offset < 0 || recs[i].Offset >= next {
			t.Errorf("record at %d, next %d", recs[i].Offset, next)
		}
	}
}

// fixSums corrects checksums, so that fuzzing gets past them.
func fixSums(set []byte) {
	for len(set) >= headerSize {
		n := int64(int32(binary.BigEndian.Uint32(set[atLength:]))) + lengthSkips
		if n < headerSize || n > int64(len(set)) {
			return
		}
		binary.BigEndian.PutUint32(set[atCRC:], crc32.Checksum(set[atAttrs:n], castagnoli))
		set = set[n:]
	}
}

func FuzzClaim(f *testing.F) {
	f.Add(encodeClaim([]string{"a", "b"}, claim{generation: 4, owned: []int32{1, 2}}))
	f.Add(encodeAssignment([]string{"a", "b"}, []int32{1, 2}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := decodeClaim("m", b); err == nil && len(c.owned) > len(b) {
			t.Errorf("%d numbers of %d bytes", len(c.owned), len(b))
		}
		if n, err := decodeAssignment(b); err == nil && len(n) > len(b) {
			t.Errorf("%d numbers of %d bytes", len(n), len(b))
		}
	})
}

// TestCodingAllocates holds the bound of one allocation a record, amortised, from far below.
func TestCodingAllocates(t *testing.T) {
	c := testCodecs(t)
	recs := benchRecords(500)
	now := time.Now()
	for _, kind := range allCodecs {
		var dst []byte
		allocs := testing.AllocsPerRun(20, func() {
			var err error
			if dst, _, err = c.appendBatch(dst[:0], kind, recs, now, producerState{}); err != nil {
				t.Fatal(err)
			}
		})
		if allocs > 50 { // 2 or so; more where the race detector makes pools forget
			t.Errorf("encoding, codec %d: %v allocations for 500 records", kind, allocs)
		}
		b, _, err := nextBatch(dst)
		if err != nil {
			t.Fatal(err)
		}
		if allocs := testing.AllocsPerRun(20, func() { _, err = decodeBatch(c, &b, 0) }); allocs > 50 || err != nil {
			t.Errorf("decoding, codec %d: %v allocations for 500 records, %v", kind, allocs, err)
		}
	}
}

// benchRecords are records of about 1.5 kB with headers.
func benchRecords(n int) []Record {
	r := rand.New(rand.NewPCG(1, 2))
	recs := make([]Record, n)
	for i := range recs {
		v := []byte(`{"CreationTime":"2026-01-01T00:00:00","Operation":"FileAccessed","Workload":"SharePoint"`)
		for j := 0; len(v) < 1450; j++ {
			v = fmt.Appendf(v, `,"Property%d":"%x"`, j, r.Uint64())
		}
		recs[i] = Record{Key: []byte("tenant:user"), Value: append(v, '}'), Headers: testRecords(3)[1].Headers}
	}
	return recs
}

// BenchmarkBatch encodes and decodes a batch of 500 records.
func BenchmarkBatch(b *testing.B) {
	c := testCodecs(b)
	recs := benchRecords(500)
	size := 0
	for i := range recs {
		size += len(recs[i].Value)
	}
	for i, name := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		set, _, err := c.appendBatch(nil, allCodecs[i], recs, time.Now(), producerState{})
		if err != nil {
			b.Fatal(err)
		}
		b.Run("work=encode/codec="+name, func(b *testing.B) {
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				set, _, _ = c.appendBatch(set[:0], allCodecs[i], recs, time.Now(), producerState{})
			}
		})
		b.Run("work=decode/codec="+name, func(b *testing.B) {
			h, _, err := nextBatch(set)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := decodeBatch(c, &h, 0); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
