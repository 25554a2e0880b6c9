package source

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"millrace/ingester/internal/checkpoint"
	"millrace/pkg/audit"
	"millrace/pkg/kafkatx"
	"millrace/pkg/m365"
	"millrace/pkg/wire"
)

const testTenant = audit.TenantID("11111111-2222-3333-4444-555555555555")

func testOwner(t *testing.T, change func(*Config)) *owner {
	t.Helper()
	cfg := Config{Names: wire.Names{Prefix: "m365"}, Partitions: 3, Control: 2, SpoolDir: t.TempDir()}
	if change != nil {
		change(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	o := newOwner(s, s.Number(testTenant))
	o.reconcile(t.Context())
	o.listed, o.look = o.generation, time.Now().Add(time.Hour) // its list is on the topic, and nobody has another
	t.Cleanup(o.Close)
	return o
}

// blobUnit is a fetched blob of some records, as a fetch makes it.
func blobUnit(t *testing.T, o *owner, id string, body string) *unit {
	t.Helper()
	st := &stream{o: o, id: string(testTenant) + "/general", open: make(map[checkpoint.Hash]*blob)}
	b := &blob{Blob: audit.Blob{Tenant: testTenant, ContentType: audit.General, ContentID: id, Created: time.Now(), Expiration: time.Now().Add(7 * 24 * time.Hour)}}
	b.hash, b.fetched = checkpoint.HashOf(id), time.Now()
	sp := newSpool(o.s.cfg.SpoolDir, &o.s.chunks, func() bool { return true })
	if _, err := sp.Write([]byte(body)); err != nil {
		t.Fatal(err)
	}
	if err := sp.join(); err != nil {
		t.Fatal(err)
	}
	b.bytes, b.sha = sp.size, sp.sha()
	held, err := o.s.memory.begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b.held = held
	u, err := st.finish(b, sp)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func keys(recs []kafkatx.Record) []string {
	var out []string
	for _, r := range recs {
		out = append(out, wire.Header(r, wire.HeaderID))
	}
	return out
}

// TestRedoAfterAbort: what was in an aborted transaction is offered again, the same, and only a committed one counts.
func TestRedoAfterAbort(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1, spoolMemory} { // in memory, through a file
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			o := testOwner(t, nil)
			pad := fmt.Sprintf(`{"Id":"p","Pad":"%0*d"}`, size, 0)
			u := blobUnit(t, o, "a", `[{"Id":"1"},{"Id":"2"},`+pad+`]`)
			o.mu.Lock()
			o.offer(u)
			o.mu.Unlock()
			var want []string
			for try := range 3 {
				res, err := o.Next(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				got := keys(res.Outputs)
				if want == nil {
					want = got
				}
				if diff := cmp.Diff(got, want); diff != "" || len(got) != 3 {
					t.Fatalf("try %d: %v\n%s", try, got, diff)
				}
				if follow := res.Follow([]int64{7, 8, 9}); len(follow) != 1 || follow[0].Topic != "m365.ledger.v1" {
					t.Fatalf("follow %v", follow)
				}
				if o.book.Done(u.stream, u.blob.hash) {
					t.Fatal("done before the commit")
				}
				if try < 2 {
					res.Change.Discard()
					continue
				}
				res.Change.Merge()
			}
			if !o.book.Done(u.stream, checkpoint.HashOf("a")) || u.blob.held.held() != 0 || len(o.ready) != 0 {
				t.Error("not done, or not let go, after the commit")
			}
		})
	}
}

func TestGroupCommit(t *testing.T) {
	t.Parallel()
	o := testOwner(t, func(c *Config) { c.CommitBytes = 5000; c.CommitWait = time.Hour })
	o.mu.Lock()
	o.flying = 1 // more is coming
	o.offer(blobUnit(t, o, "a", `[{"Id":"1"}]`))
	o.mu.Unlock()
	if _, _, due := o.take(); due {
		t.Error("a busy number commits one small blob at once")
	}
	o.mu.Lock()
	o.offer(blobUnit(t, o, "b", `[{"Id":"2"},{"Id":"3"},{"Id":"4"}]`))
	o.offer(blobUnit(t, o, "c", `[{"Id":"5"}]`))
	o.mu.Unlock()
	if _, units, due := o.take(); !due || len(units) != 1 {
		t.Errorf("%d units, due %v: want what fits into the bound", len(units), due)
	}
	o.mu.Lock()
	o.flying = 0
	o.mu.Unlock()
	if _, units, due := o.take(); !due || len(units) != 1 {
		t.Errorf("%d units, due %v: a quiet number commits at once", len(units), due)
	}
}

func TestNextEndsWithItsContext(t *testing.T) {
	t.Parallel()
	o := testOwner(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := o.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestRetryWait(t *testing.T) {
	t.Parallel()
	o := testOwner(t, func(c *Config) { c.RetryWait = time.Second })
	for fails, most := range map[int]time.Duration{1: time.Second, 3: 4 * time.Second, 50: 100 * time.Second} {
		if got := o.s.retryWait(errors.New("x"), fails, longestWait); got > most || got < most/2 {
			t.Errorf("after %d failures: %s, want up to %s", fails, got, most)
		}
		if got := o.s.retryWait(errors.New("x"), fails, longestLiveWait); got > longestLiveWait*time.Second {
			t.Errorf("after %d failures a live window waits %s", fails, got)
		}
		if got := o.s.retryWait(&m365.APIError{Class: m365.ClassThrottled}, fails, longestWait); got > time.Second {
			t.Errorf("after %d throttled calls: %s; the bucket sees to the pace", fails, got)
		}
	}
}

func TestSpool(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, chunkSize - 1, chunkSize, chunkSize + 1, spoolMemory - 1, spoolMemory, spoolMemory + 1, spoolMemory + 3*chunkSize, 3*spoolMemory + 7} {
		want := make([]byte, size)
		for i := range want {
			want[i] = byte(i * 7 >> 3)
		}
		var lender chunks
		sp := newSpool(t.TempDir(), &lender, func() bool { return true })
		for rest := want; len(rest) > 0; { // in pieces of all sizes
			n := min(len(rest), 1+len(rest)/3)
			if k, err := sp.Write(rest[:n]); err != nil || k != n {
				t.Fatalf("%d bytes: wrote %d of %d, %v", size, k, n, err)
			}
			rest = rest[n:]
		}
		if err := sp.join(); err != nil {
			t.Fatal(err)
		}
		got, err := sp.bytes()
		sum := sha256.Sum256(want)
		if err != nil || !bytes.Equal(got, want) || sp.size != int64(size) || sp.sha() != hex.EncodeToString(sum[:]) {
			t.Errorf("%d bytes: got %d, %v", size, len(got), err)
		}
		if inFile := sp.file != nil; inFile != (size >= spoolMemory) {
			t.Errorf("%d bytes: in a file: %v", size, inFile)
		}
		sp.drop()
		sp.drop()
	}
}
