package seen

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"millrace/pkg/audit"
)

// A value on the seen topic holds what one transaction added. All numbers are big endian:
//
//	1 byte   format version
//	2 bytes  partition count of the raw topics when it was written
//	4 bytes  floor, in hours since 1970
//	4 bytes  base hour
//	4 bytes  number of entries
//	18 bytes an entry: hash of the id, content digest, hours since the base
//
// A newer version may append to the header or change the entries; a build reads the versions it knows and refuses others.
const (
	formatVersion = 1
	headerBytes   = 1 + 2 + 4 + 4 + 4
	entryBytes    = 8 + 8 + 2
)

// The errors of decoding. Each ends the number's loading: going on without its memory would publish repeats.
var (
	ErrVersion    = errors.New("the state was written by a newer build: install that build again, or a newer one")
	ErrPartitions = errors.New("the partition count has changed since the state was written: counts are for life, restore the topics")
	ErrCorrupt    = errors.New("not a value of the seen topic")
)

// Encode writes what the batch adds, as one value of the seen topic; nil when it adds nothing.
func (b *Batch) Encode(partitions int) []byte {
	if len(b.added) == 0 {
		return nil
	}
	base, top := b.added[0].hour, b.added[0].hour
	for _, a := range b.added {
		base, top = min(base, a.hour), max(top, a.hour)
	}
	// Wider than 7 years apart only if a clock went wrong: then what is older counts from the earliest hour that fits.
	base = max(base, top-math.MaxUint16)
	out := make([]byte, 0, headerBytes+len(b.added)*entryBytes)
	out = append(out, formatVersion)
	out = binary.BigEndian.AppendUint16(out, uint16(partitions))
	out = binary.BigEndian.AppendUint32(out, uint32(b.set.floor))
	out = binary.BigEndian.AppendUint32(out, uint32(base))
	out = binary.BigEndian.AppendUint32(out, uint32(len(b.added)))
	for _, a := range b.added {
		out = binary.BigEndian.AppendUint64(out, a.ID)
		out = binary.BigEndian.AppendUint64(out, a.Content)
		out = binary.BigEndian.AppendUint16(out, uint16(max(a.hour-base, 0)))
	}
	return out
}

// Load adds a value of the seen topic to the set. Values are loaded in the order in which they were written.
func (s *Set) Load(value []byte, partitions int) error {
	if len(value) == 0 {
		return ErrCorrupt
	}
	if value[0] > formatVersion {
		return fmt.Errorf("format version %d, this build knows %d: %w", value[0], formatVersion, ErrVersion)
	}
	if value[0] != formatVersion || len(value) < headerBytes {
		return ErrCorrupt
	}
	written := int(binary.BigEndian.Uint16(value[1:]))
	if written != partitions {
		return fmt.Errorf("written under %d partitions, found %d: %w", written, partitions, ErrPartitions)
	}
	floor := int64(binary.BigEndian.Uint32(value[3:]))
	base := int64(binary.BigEndian.Uint32(value[7:]))
	n := int64(binary.BigEndian.Uint32(value[11:]))
	entries := value[headerBytes:]
	if int64(len(entries)) != n*entryBytes {
		return fmt.Errorf("%w: %d bytes for %d entries", ErrCorrupt, len(entries), n)
	}
	s.floor = max(s.floor, floor)
	for ; len(entries) > 0; entries = entries[entryBytes:] {
		e := audit.Entry{ID: binary.BigEndian.Uint64(entries), Content: binary.BigEndian.Uint64(entries[8:])}
		if err := s.load(e, base+int64(binary.BigEndian.Uint16(entries[16:]))); err != nil {
			return err
		}
	}
	return nil
}
