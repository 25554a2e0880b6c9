package tenant

// rng is a splitmix64 generator: eight bytes of state, cheap to seed, and the same on every machine and
// in every Go release, which is what "same seed, same bytes" needs.
type rng uint64

func (r *rng) next() uint64 {
	*r += 0x9e3779b97f4a7c15
	return mix(uint64(*r))
}

// n returns a number in [0, k). The bias for small k is far below anything visible.
func (r *rng) n(k int) int {
	if k <= 1 {
		return 0
	}
	hi := r.next() >> 32
	return int(hi * uint64(k) >> 32)
}

// chance is true once in k calls.
func (r *rng) chance(k int) bool { return r.n(k) == 0 }

// between returns a number in [lo, hi].
func (r *rng) between(lo, hi int) int { return lo + r.n(hi-lo+1) }

// float returns a number in [0, 1).
func (r *rng) float() float64 { return float64(r.next()>>11) / (1 << 53) }

// pick returns one element of a table.
func pick[T any](r *rng, table []T) T { return table[r.n(len(table))] }

// mix is the finaliser of splitmix64: a good 64-bit hash of a 64-bit number.
func mix(z uint64) uint64 {
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb
	return z ^ (z >> 31)
}

// hash folds numbers into one, each position counting.
func hash(parts ...uint64) uint64 {
	h := uint64(0x2545f4914f6cdd1d)
	for _, p := range parts {
		h = mix(h ^ mix(p+0x9e3779b97f4a7c15))
	}
	return h
}

// guid is 128 bits that print as a version 4 GUID.
type guid struct{ hi, lo uint64 }

func newGUID(parts ...uint64) guid {
	h := hash(parts...)
	return guid{hi: mix(h+1)&^0xf000 | 0x4000, lo: mix(h+2)&^(3<<62) | 2<<62}
}

const hexDigits = "0123456789abcdef"

func (g guid) append(b []byte) []byte {
	var x [36]byte
	v, p := g.hi, 17
	put := func(stop int) {
		for ; p >= stop; p-- {
			x[p] = hexDigits[v&15]
			v >>= 4
		}
	}
	put(14)
	x[13], p = '-', 12
	put(9)
	x[8], p = '-', 7
	put(0)
	v, p = g.lo, 35
	put(24)
	x[23], p = '-', 22
	put(19)
	x[18] = '-'
	return append(b, x[:]...)
}

func (g guid) String() string { return string(g.append(nil)) }
