package checkpoint

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const id = "11111111-2222-3333-4444-555555555555/exchange"

var at = time.Date(2026, 3, 2, 10, 0, 0, 0, time.UTC)

// reload reads the records of a change into a new book, as the next owner of the number would.
func reload(t *testing.T, b *Book, rs []Record) {
	t.Helper()
	for _, r := range rs {
		if err := b.Load(r.Key, r.Value); err != nil {
			t.Fatal(err)
		}
	}
}

func records(t *testing.T, c *Change) []Record {
	t.Helper()
	rs, err := c.Records()
	if err != nil {
		t.Fatal(err)
	}
	return rs
}

func TestChangeIsInvisibleUntilMerged(t *testing.T) {
	t.Parallel()
	b := NewBook(12)
	c := b.Begin()
	c.Done(id, HashOf("a$1"), at)
	want := State{Cursor: at, Resume: at.Add(-time.Hour), Begun: at, Started: at, Delta: "d"}
	c.Set(id, want)
	rs := records(t, c)
	if b.Done(id, HashOf("a$1")) || b.State(id) != (State{}) {
		t.Error("a staged change shows")
	}
	c.Discard()
	c.Merge() // of nothing
	if b.Done(id, HashOf("a$1")) {
		t.Error("a discarded change was merged")
	}
	next := NewBook(12)
	reload(t, next, rs)
	if !next.Done(id, HashOf("a$1")) || next.Done(id, HashOf("a$2")) {
		t.Error("the next owner does not know the blob")
	}
	if diff := cmp.Diff(next.State(id), want); diff != "" {
		t.Error(diff)
	}
}

func TestForget(t *testing.T) {
	t.Parallel()
	b := NewBook(12)
	c := b.Begin()
	for i := range 10 {
		c.Done(id, HashOf(fmt.Sprint(i)), at.Add(time.Duration(i)*time.Hour))
	}
	all := records(t, c)
	c.Merge()
	c = b.Begin()
	if n := c.Forget(id, at.Add(5*time.Hour), 3); n != 3 {
		t.Errorf("forgot %d, want the limit 3", n)
	}
	c.Discard()
	c = b.Begin()
	if n := c.Forget(id, at.Add(5*time.Hour), 100); n != 5 {
		t.Errorf("forgot %d, want 5", n)
	}
	all = append(all, records(t, c)...)
	c.Merge()
	next := NewBook(12)
	reload(t, next, all)
	for _, book := range []*Book{b, next} {
		if book.Blobs(id) != 5 || book.Done(id, HashOf("4")) || !book.Done(id, HashOf("5")) {
			t.Errorf("%d blobs are left", book.Blobs(id))
		}
	}
}

func TestLoadRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, key, value, want string }{
		{"other count", id, `{"v":1,"n":13}`, "13 partitions"},
		{"other count of a blob", id + "/" + strings.Repeat("0", 32), `{"v":1,"n":13,"created":1}`, "13 partitions"},
		{"later layout", id, `{"v":2,"n":12}`, "layout 2"},
		{"no JSON", id, `x`, "checkpoint"},
		{"foreign key", "x", `{}`, "another program"},
		{"bad hash", id + "/zz", `{}`, "another program"},
	}
	for _, tt := range tests {
		if err := NewBook(12).Load([]byte(tt.key), []byte(tt.value)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte(id), []byte(`{"v":1,"n":12,"cursor":"2026-03-02T10:00:00Z"}`))
	f.Add([]byte(id+"/"+strings.Repeat("0", 32)), []byte(`{"v":1,"n":12,"created":3}`))
	f.Fuzz(func(t *testing.T, key, value []byte) {
		if err := NewBook(12).Load(key, value); err != nil && len(err.Error()) > 4*len(key)+1000 {
			t.Fatal("endless error")
		}
	})
}

// BenchmarkLoad: a book of 50,000 blobs has to load in seconds.
func BenchmarkLoad(b *testing.B) {
	book := NewBook(12)
	c := book.Begin()
	for i := range 50_000 {
		c.Done(id, HashOf(fmt.Sprint(i)), at)
	}
	rs, err := c.Records()
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		next := NewBook(12)
		for _, r := range rs {
			if err := next.Load(r.Key, r.Value); err != nil {
				b.Fatal(err)
			}
		}
	}
}
