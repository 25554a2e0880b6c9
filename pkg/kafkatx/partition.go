package kafkatx

import "encoding/binary"

// Partition is the partition that the Java client's default partitioner gives a key among count partitions: murmur2 of the key,
// its sign bit cleared, modulo count.
func Partition(key []byte, count int) int32 {
	return int32(murmur2(key)&0x7fffffff) % int32(count)
}

// murmur2 is MurmurHash2 with the seed and the tail handling of org.apache.kafka.common.utils.Utils.
func murmur2(data []byte) uint32 {
	const m = 0x5bd1e995
	h := uint32(0x9747b28c) ^ uint32(len(data))
	for len(data) >= 4 {
		k := binary.LittleEndian.Uint32(data) * m
		k = (k ^ k>>24) * m
		h = h*m ^ k
		data = data[4:]
	}
	switch len(data) {
	case 3:
		h ^= uint32(data[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(data[1]) << 8
		fallthrough
	case 1:
		h = (h ^ uint32(data[0])) * m
	}
	h = (h ^ h>>13) * m
	return h ^ h>>15
}
