//go:build integration || long

package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/m365sim/tenant"
	"millrace/internal/proof"
	"millrace/pkg/wire"
)

// judge holds the raw topics and the ledger of a cluster against what tenants have: every record of every blob once, byte for byte, and
// every blob once on the ledger, with its bytes, hash and count, its offsets those of its records.
type judge struct {
	t       *testing.T
	brokers []string
	names   wire.Names
	tenants []*tenant.Tenant
}

// spot is where a record lies.
type spot struct {
	topic     string
	partition int32
	offset    int64
}

// findings are what a look at the topics showed.
type findings struct {
	records, blobs             int // there ought to be
	missing, repeated, altered int // records
	unlisted, disagree         int // blobs that the ledger lacks, has twice, or describes otherwise than the topics
	epochs                     int // commits of an owner that had been replaced
	gaps                       int
	named                      []string
}

func (f *findings) name(format string, args ...any) {
	if len(f.named) < 20 {
		f.named = append(f.named, fmt.Sprintf(format, args...))
	}
}

func (f *findings) clean() bool {
	return f.missing+f.repeated+f.altered+f.unlisted+f.disagree+f.epochs+f.gaps == 0
}

func (f *findings) String() string {
	return fmt.Sprintf("%d records in %d blobs: %d missing, %d repeated, %d altered or unexpected; ledger: %d blobs missing or twice, %d disagree; "+
		"%d commits by replaced owners, %d gaps", f.records, f.blobs, f.missing, f.repeated, f.altered, f.unlisted, f.disagree, f.epochs, f.gaps)
}

// look compares. Blobs that were visible at must have to be there; younger ones may be.
func (j *judge) look(ctx context.Context, must time.Time) (*findings, error) {
	f := &findings{}
	raw, err := j.raw(ctx, f)
	if err != nil {
		return nil, err
	}
	ledger, err := j.ledger(ctx, f)
	if err != nil {
		return nil, err
	}
	for _, t := range j.tenants {
		due := map[string]bool{}
		err := t.Blobs(ctx, must, func(b tenant.Blob) error { due[b.ContentID] = true; return nil })
		if err != nil {
			return nil, err
		}
		err = t.Blobs(ctx, time.Now().Add(time.Hour), func(b tenant.Blob) error {
			j.blob(f, t.ID()+"/"+b.ContentID, b, due[b.ContentID], raw, ledger)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	for name, spots := range raw { // what is left belongs to no blob
		f.altered += len(spots)
		f.name("record %s is no tenant's", name)
	}
	return f, nil
}

// blob judges one blob and takes its records out of raw.
func (j *judge) blob(f *findings, name string, b tenant.Blob, due bool, raw map[string][]copyAt, ledger map[string][]wire.LedgerEntry) {
	entries := ledger[name]
	if len(entries) == 0 && !due {
		for i := range b.Records {
			if n := len(raw[fmt.Sprint(name, "/", i)]); n > 0 {
				f.disagree++
				f.name("record %d of %s is there without a ledger entry", i, name)
			}
			delete(raw, fmt.Sprint(name, "/", i))
		}
		return
	}
	f.blobs++
	f.records += len(b.Records)
	body := sha256.New()
	size := int64(2)
	body.Write([]byte("["))
	var lies []spot
	for i, r := range b.Records {
		if i > 0 {
			body.Write([]byte(","))
			size++
		}
		body.Write(r)
		size += int64(len(r))
		key := fmt.Sprint(name, "/", i)
		at := raw[key]
		delete(raw, key)
		switch {
		case len(at) == 0:
			f.missing++
			f.name("record %s is missing", key)
			continue
		case len(at) > 1:
			f.repeated += len(at) - 1
			f.name("record %s is there %d times", key, len(at))
		case at[0].sha != sha256.Sum256(r):
			f.altered++
			f.name("record %s has other bytes", key)
		}
		lies = append(lies, at[0].spot)
	}
	body.Write([]byte("]"))
	if len(entries) != 1 {
		f.unlisted++
		f.name("%s is on the ledger %d times", name, len(entries))
		return
	}
	e := entries[0]
	if e.Blob.SHA256 != hex.EncodeToString(body.Sum(nil)) || e.Blob.Bytes != size || e.Blob.Records != len(b.Records) || !covers(e.Offsets, lies) {
		f.disagree++
		f.name("%s: the ledger says %d bytes, %d records at %v; the feed has %d and %d", name, e.Blob.Bytes, e.Blob.Records, e.Offsets, size, len(b.Records))
	}
}

// covers says whether ranges hold exactly these places.
func covers(ranges []wire.OffsetRange, spots []spot) bool {
	n := 0
	for _, r := range ranges {
		n += r.Count
	}
	return n == len(spots) && !slices.ContainsFunc(spots, func(s spot) bool {
		return !slices.ContainsFunc(ranges, func(r wire.OffsetRange) bool {
			return r.Topic == s.topic && r.Partition == s.partition && r.First <= s.offset && s.offset <= r.Last
		})
	})
}

// copyAt is one copy of a record on the raw topics.
type copyAt struct {
	spot
	sha [32]byte
}

// raw reads where each record lies, by tenant, content id and index.
func (j *judge) raw(ctx context.Context, f *findings) (map[string][]copyAt, error) {
	out := map[string][]copyAt{}
	order := newEpochs()
	err := proof.Read(ctx, j.brokers, j.names.RawAll(), func(r *kgo.Record) error {
		order.check(f, r, false)
		h := headersOf(r)
		key := h[wire.HeaderTenant] + "/" + h[wire.HeaderContentID] + "/" + h[wire.HeaderBlobIndex]
		out[key] = append(out[key], copyAt{spot{r.Topic, r.Partition, r.Offset}, sha256.Sum256(r.Value)})
		return nil
	})
	return out, err
}

func headersOf(r *kgo.Record) map[string]string {
	out := map[string]string{}
	for _, h := range r.Headers {
		out[h.Key] = string(h.Value)
	}
	return out
}

// ledger reads the entries by tenant and content id, and whether a number was ever committed for by an owner that had been replaced.
func (j *judge) ledger(ctx context.Context, f *findings) (map[string][]wire.LedgerEntry, error) {
	out := map[string][]wire.LedgerEntry{}
	order := newEpochs()
	err := proof.Read(ctx, j.brokers, []string{j.names.Ledger(), j.names.Checkpoints()}, func(r *kgo.Record) error {
		order.check(f, r, true)
		if r.Topic == j.names.Checkpoints() {
			return nil
		}
		var e wire.LedgerEntry
		if err := json.Unmarshal(r.Value, &e); err != nil {
			return err
		}
		if e.Gap != nil {
			f.gaps++
			f.name("gap %+v of %s %s", *e.Gap, e.Tenant, e.ContentType)
			return nil
		}
		key := e.Tenant + "/" + e.Blob.ContentID
		out[key] = append(out[key], e)
		return nil
	})
	return out, err
}

// epochs are the newest epochs of producers on each partition. An epoch belongs to one owner; one that comes back after a newer one was
// there means that two owners committed side by side.
type epochs struct {
	newest   map[string]int16 // by partition and producer
	producer map[string]int64 // by partition
}

func newEpochs() epochs { return epochs{newest: map[string]int16{}, producer: map[string]int64{}} }

// check looks at one record. With alone, the partition belongs to one number and so to one producer.
func (e epochs) check(f *findings, r *kgo.Record, alone bool) {
	partition := fmt.Sprint(r.Topic, "/", r.Partition)
	if id, known := e.producer[partition]; alone && known && id != r.ProducerID {
		f.epochs++
		f.name("two producers write %s", partition)
	}
	e.producer[partition] = r.ProducerID
	key := fmt.Sprint(partition, "/", r.ProducerID)
	if last, known := e.newest[key]; known && r.ProducerEpoch < last {
		f.epochs++
		f.name("%s@%d was written with epoch %d after %d", partition, r.Offset, r.ProducerEpoch, last)
	}
	e.newest[key] = r.ProducerEpoch
}
