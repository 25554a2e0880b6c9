package kafkatx

import "testing"

// TestMurmur2 holds the hash against the vectors of the Java client's own test.
func TestMurmur2(t *testing.T) {
	t.Parallel()
	vectors := map[string]int32{
		"21":                         -973932308,
		"foobar":                     -790332482,
		"a-little-bit-long-string":   -985981536,
		"a-little-bit-longer-string": -1486304829,
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
		"abc": 479470107,
	}
	for key, want := range vectors {
		if got := int32(murmur2([]byte(key))); got != want {
			t.Errorf("%q: got %d, want %d", key, got, want)
		}
	}
	if got := Partition([]byte("21"), 12); got < 0 || got > 11 {
		t.Errorf("partition of a negative hash: got %d", got)
	}
}
