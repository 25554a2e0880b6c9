package tenant

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"testing"
	"time"
)

var origin = time.Date(2026, 3, 9, 12, 34, 56, 0, time.UTC)

func weekHash(t *testing.T, cfg Config) string {
	t.Helper()
	tn, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	h := sha256.New()
	err = tn.Blobs(t.Context(), time.Time{}, func(b Blob) error {
		h.Write([]byte(b.ContentType + b.ContentID + b.Created.String()))
		for _, r := range b.Records {
			h.Write(r)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func TestSameSeedSameBytes(t *testing.T) {
	t.Parallel()
	a := weekHash(t, Config{Seed: 1, Records: 5000, Origin: origin})
	if b := weekHash(t, Config{Seed: 1, Records: 5000, Origin: origin}); a != b {
		t.Error("the same seed gave other bytes")
	}
	if b := weekHash(t, Config{Seed: 2, Records: 5000, Origin: origin}); a == b {
		t.Error("another seed gave the same bytes")
	}
}

// TestSizes plans the week of each named size; none is held in memory.
func TestSizes(t *testing.T) {
	t.Parallel()
	for size, want := range map[string]struct {
		records  int
		liveRate float64
	}{"": {20_000, 3}, Small: {20_000, 3}, Medium: {700_000, 700_000.0 / (7 * 24 * 3600)}, Large: {10_000_000, 10_000_000.0 / (7 * 24 * 3600)}} {
		tn, err := New(Config{Size: size, Origin: origin})
		if err != nil {
			t.Fatal(err)
		}
		if c := tn.Config(); c.Records != want.records || c.LiveRate != want.liveRate {
			t.Errorf("%q has %d records and then %g a second, want %+v", size, c.Records, c.LiveRate, want)
		}
	}
	if tn, err := New(Config{Size: Large, Records: 100, LiveRate: -1, Origin: origin}); err != nil || tn.Config().Records != 100 || tn.Config().LiveRate != -1 {
		t.Errorf("what is said besides the size does not win: %v", err)
	}
	if _, err := New(Config{Size: "huge", Origin: origin}); err == nil {
		t.Error("an unknown size was taken")
	}
}

func TestWeek(t *testing.T) {
	t.Parallel()
	tn, err := New(Config{Seed: 7, Records: 20_000, Origin: origin})
	if err != nil {
		t.Fatal(err)
	}
	types, workloads := map[string]int{}, map[string]int{}
	ids := map[string]string{}
	var records, repeats, variants, noID, noTime, blobs, bytes int
	last := time.Time{}
	err = tn.Blobs(t.Context(), time.Time{}, func(b Blob) error {
		blobs++
		if b.Created.Before(last) {
			t.Errorf("blob %s comes after one created at %s", b.ContentID, last)
		}
		last = b.Created
		if b.Created.Before(origin.Add(-7*24*time.Hour)) || !b.Created.Before(origin) {
			t.Errorf("blob %s was created outside the week", b.ContentID)
		}
		if d, ok := tn.Find(b.ContentID, origin); !ok || d.ContentType != b.ContentType || d.Records != len(b.Records) {
			t.Errorf("Find(%s) = %+v, %v", b.ContentID, d, ok)
		}
		for _, raw := range b.Records {
			var r struct {
				ID           string `json:"Id"`
				Workload     string
				CreationTime string
				RecordType   int
			}
			if err := json.Unmarshal(raw, &r); err != nil {
				t.Fatalf("%v in %s", err, raw)
			}
			at, err := time.Parse("2006-01-02T15:04:05", r.CreationTime)
			if err == nil && !at.Before(b.Created) {
				t.Errorf("record of %s in a blob of %s", at, b.Created)
			}
			records++
			bytes += len(raw)
			types[b.ContentType]++
			workloads[r.Workload]++
			if r.CreationTime == "" {
				noTime++
			}
			if r.ID == "" {
				noID++
				continue
			}
			if old, ok := ids[r.ID]; ok {
				repeats++
				if len(old) != len(raw) {
					variants++
				}
			}
			ids[r.ID] = string(raw)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(blobs, records, bytes/records, repeats, variants, noID, noTime, types, workloads)
	if noID == 0 || noTime == 0 || repeats == 0 || variants == 0 {
		t.Error("the week lacks a kind of trouble")
	}
	if len(ids)+noID < 20_000 {
		t.Errorf("%d distinct records, want 20000", len(ids)+noID)
	}
	for _, ct := range ContentTypes() {
		if types[ct] < 100 {
			t.Errorf("%s has %d records", ct, types[ct])
		}
	}
}

func BenchmarkRender(b *testing.B) {
	tn, err := New(Config{Seed: 7, Records: 500_000, Origin: origin})
	if err != nil {
		b.Fatal(err)
	}
	ds := slices.Collect(tn.Each(General, origin.Add(-4*24*time.Hour), origin, origin))
	ds = slices.AppendSeq(ds, tn.Each(Exchange, origin.Add(-4*24*time.Hour), origin, origin))
	var buf Buffer
	n, size, i := 0, 0, 0
	for b.Loop() {
		tn.Render(&buf, ds[i%len(ds)])
		n += buf.Len()
		size += len(buf.Bytes())
		i++
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/record")
	b.ReportMetric(float64(size)/float64(n), "B/record")
}
