package seen_test

import (
	"errors"
	"testing"
	"time"

	"millrace/normalizer/internal/seen"
	"millrace/pkg/audit"
)

func encoded(t testing.TB) []byte {
	t.Helper()
	s := newSet(t, seen.DefaultHorizon)
	b := begin(t, s)
	for i := range uint64(3) {
		if err := b.Add(audit.Entry{ID: i << 60, Content: i}, start.Add(time.Duration(i)*time.Hour), start.Add(24*time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	return b.Encode(partitions)
}

func TestLoadRefuses(t *testing.T) {
	t.Parallel()
	good := encoded(t)
	change := func(at int, to byte) []byte {
		out := append([]byte(nil), good...)
		out[at] = to
		return out
	}
	tests := []struct {
		name  string
		value []byte
		want  error
	}{
		{"good", good, nil},
		{"newer version", change(0, 2), seen.ErrVersion},
		{"version zero", change(0, 0), seen.ErrCorrupt},
		{"other partition count", change(2, 13), seen.ErrPartitions},
		{"tombstone", nil, seen.ErrCorrupt},
		{"header only in part", good[:10], seen.ErrCorrupt},
		{"cut", good[:len(good)-1], seen.ErrCorrupt},
		{"too many announced", change(11, 0xff), seen.ErrCorrupt},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newSet(t, seen.DefaultHorizon)
			if err := s.Load(test.value, partitions); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			if test.want != nil && s.Len() > 0 {
				t.Errorf("%d entries were taken from it", s.Len())
			}
		})
	}
}

func TestEmptyBatchWritesNothing(t *testing.T) {
	t.Parallel()
	s := newSet(t, seen.DefaultHorizon)
	b := begin(t, s)
	b.Look(audit.Entry{ID: 1}, start)
	if got := b.Encode(partitions); got != nil {
		t.Errorf("got %x", got)
	}
}

// TestEncodingIsStable pins format version 1: state that lies on a topic must stay readable.
func TestEncodingIsStable(t *testing.T) {
	t.Parallel()
	const want = "\x01\x00\x0c\x00\x00\x00\x00\x00\x07\x83\x38\x00\x00\x00\x03" +
		"\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" +
		"\x10\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x01" +
		"\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x02"
	if got := encoded(t); string(got) != want {
		t.Errorf("got %q", got)
	}
}

func FuzzLoad(f *testing.F) {
	f.Add(encoded(f))
	f.Add([]byte{1, 0, 12})
	f.Fuzz(func(t *testing.T, value []byte) {
		s, err := seen.New(seen.Options{Horizon: seen.DefaultHorizon, Budget: seen.NewBudget(64 << 20)})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Load(value, partitions); err != nil {
			return
		}
		// What was loaded can be met, and loading it again adds nothing.
		n := s.Len()
		if err := s.Load(value, partitions); err != nil || s.Len() != n {
			t.Errorf("%d entries became %d: %v", n, s.Len(), err)
		}
		b := begin(t, s)
		b.Look(audit.Entry{ID: 1, Content: 1}, start)
		if err := b.Add(audit.Entry{ID: 1, Content: 1}, start, start); err != nil {
			t.Fatal(err)
		}
		b.Merge()
	})
}
