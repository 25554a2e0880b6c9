package directory

import "maps"

// shardCount splits an index of 100,000 objects into maps of about 400: what one change has to copy.
const shardCount = 256

// shards is a map that can be published cheaply: a copy of the struct is an immutable version, and a later set or remove clones
// only the shard that it touches. Exactly one copy, the draft, may be changed, by one goroutine.
type shards[V any] struct {
	parts [shardCount]map[string]V
	owned *[shardCount]bool // shards that no published version shares; nil in a published version
}

func (s *shards[V]) get(key []byte) (V, bool) {
	v, ok := s.parts[slot(key)][string(key)]
	return v, ok
}

func (s *shards[V]) set(key string, v V) { s.own(key)[key] = v }

func (s *shards[V]) remove(key string) {
	if _, ok := s.parts[slot(key)][key]; ok {
		delete(s.own(key), key)
	}
}

func (s *shards[V]) own(key string) map[string]V {
	i := slot(key)
	if s.owned == nil {
		s.owned = new([shardCount]bool)
	}
	if !s.owned[i] {
		s.parts[i] = maps.Clone(s.parts[i])
		if s.parts[i] == nil {
			s.parts[i] = make(map[string]V)
		}
		s.owned[i] = true
	}
	return s.parts[i]
}

// publish returns the present content as an immutable version.
func (s *shards[V]) publish() shards[V] {
	s.owned = nil
	return *s
}

// slot is FNV-1a, folded: object ids and addresses are short, and the spread need not withstand an enemy.
func slot[K string | []byte](key K) byte {
	h := uint32(2166136261)
	for i := range len(key) {
		h = (h ^ uint32(key[i])) * 16777619
	}
	return byte(h ^ h>>8 ^ h>>16 ^ h>>24)
}
