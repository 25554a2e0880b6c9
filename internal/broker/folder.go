package broker

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// This file knows kfake's files. A log of state (groups.log, pids.log) is a sequence of frames. A partition is a folder of segments: N.dat, record batches as
// Kafka has them on the wire, beginning with offset N; and N.idx, 15 bytes a batch.

// folderVersion is the version of kfake's files that this package knows; it is in meta.json and in every frame.
const folderVersion = 1

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// frame makes one entry of a log of state: length and checksum of what follows, version, data; little-endian.
func frame(data []byte) []byte {
	b := make([]byte, 10, 10+len(data))
	binary.LittleEndian.PutUint32(b, uint32(2+len(data)))
	binary.LittleEndian.PutUint16(b[8:], folderVersion)
	b = append(b, data...)
	binary.LittleEndian.PutUint32(b[4:], crc32.Checksum(b[8:], castagnoli))
	return b
}

// readFrames returns the data of all whole entries and the length of what they take.
func readFrames(raw []byte) (data [][]byte, whole int) {
	for {
		rest := raw[whole:]
		if len(rest) < 10 {
			return data, whole
		}
		n := int64(binary.LittleEndian.Uint32(rest))
		if n < 2 || 8+n > int64(len(rest)) || crc32.Checksum(rest[8:8+n], castagnoli) != binary.LittleEndian.Uint32(rest[4:]) {
			return data, whole
		}
		data = append(data, rest[10:8+n])
		whole += int(8 + n)
	}
}

// readStateLog returns the entries of a log of state and cuts off what a kill left unfinished, because kfake would append behind it and not read on.
func readStateLog(path string) ([][]byte, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	data, whole := readFrames(raw)
	if whole == len(raw) {
		return data, nil
	}
	return data, os.Truncate(path, int64(whole))
}

// appendFile adds to the end of a file, which is made if it is not there.
func appendFile(path string, b []byte) error {
	if len(b) == 0 {
		return nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Close())
}

const (
	batchHeaderSize   = 61      // of a record batch, up to its records
	maxBatchSize      = 1 << 30 // kfake's own bound
	transactionalBit  = 0x10
	controlBit        = 0x20
	indexEntrySize    = 15
	indexTransactions = 1 // the flag of an index entry that its batch belongs to a transaction
)

// batch is what the header of a record batch says.
type batch struct {
	size        int64 // in the file
	next        int64 // first offset behind it
	leaderEpoch int32
	attributes  uint16
	producer    int64
	epoch       int16 // of the producer
}

func (b batch) control() bool       { return b.attributes&controlBit != 0 }
func (b batch) transactional() bool { return b.attributes&transactionalBit != 0 && !b.control() }

// parseBatch reads a header. It says no where there cannot be one, which is where a kill cut a write short.
func parseBatch(header []byte, left int64) (batch, bool) {
	if len(header) < batchHeaderSize {
		return batch{}, false
	}
	length := int64(binary.BigEndian.Uint32(header[8:]))
	last := int64(int32(binary.BigEndian.Uint32(header[23:])))
	b := batch{
		size:        12 + length,
		next:        int64(binary.BigEndian.Uint64(header)) + last + 1,
		leaderEpoch: int32(binary.BigEndian.Uint32(header[12:])),
		attributes:  binary.BigEndian.Uint16(header[21:]),
		producer:    int64(binary.BigEndian.Uint64(header[43:])),
		epoch:       int16(binary.BigEndian.Uint16(header[51:])),
	}
	return b, b.size >= batchHeaderSize && b.size <= min(left, maxBatchSize) && header[16] == 2 && last >= 0 && b.next > last
}

// partition is what the segments of one partition say, read in order.
type partition struct {
	dir    string
	active string          // path of the segment that kfake will append to, without suffix; "" = no record yet
	last   batch           // the newest one
	open   map[int64]int16 // producers with a transaction that has no marker, and their epoch
}

// readPartition reads the segments of a folder and mends what a kill can leave: a batch that is not whole at the very end, an index that lacks entries, a
// segment without a batch.
func readPartition(dir string) (*partition, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var bases []int64
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".dat")
		if base, err := strconv.ParseInt(name, 10, 64); ok && err == nil {
			bases = append(bases, base)
		}
	}
	slices.Sort(bases)
	p := &partition{dir: dir, open: map[int64]int16{}}
	for i, base := range bases {
		if err := p.readSegment(filepath.Join(dir, strconv.FormatInt(base, 10)), i == len(bases)-1); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (p *partition) readSegment(path string, newest bool) error {
	f, err := os.Open(path + ".dat")
	if err != nil {
		return err
	}
	index, whole, size, err := p.scan(f, newest)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("%s.dat: %w", path, err)
	}
	if whole < size {
		if !newest {
			return fmt.Errorf("%s.dat: damaged at byte %d, and newer records follow", path, whole)
		}
		if err := os.Truncate(path+".dat", whole); err != nil {
			return err
		}
	}
	if whole == 0 {
		return errors.Join(os.Remove(path+".dat"), removeIfThere(path+".idx"))
	}
	p.active = path
	return mendIndex(path+".idx", index)
}

// scan goes from header to header and returns what the index must say of the batches, where the last whole one ends, and the file's size. In the newest segment, to which a
// kill or worse may have happened, the batches are read whole and their checksums compared, as kfake will.
func (p *partition) scan(f *os.File, newest bool) (index []byte, whole, size int64, err error) {
	info, err := f.Stat()
	if err != nil {
		return nil, 0, 0, err
	}
	size = info.Size()
	header := make([]byte, batchHeaderSize)
	var all []byte
	for whole < size {
		if _, err := f.ReadAt(header, whole); err != nil && !errors.Is(err, io.EOF) {
			return nil, 0, 0, err
		}
		b, ok := parseBatch(header, size-whole)
		if !ok {
			break
		}
		if newest {
			all = slices.Grow(all[:0], int(b.size))[:b.size]
			if _, err := f.ReadAt(all, whole); err != nil {
				return nil, 0, 0, err
			}
			if crc32.Checksum(all[21:], castagnoli) != binary.BigEndian.Uint32(all[17:]) {
				break
			}
		}
		index = append(index, indexEntry(b)...)
		whole += b.size
		p.note(b)
	}
	return index, whole, size, nil
}

// note follows the transactions of a partition.
func (p *partition) note(b batch) {
	p.last = b
	switch {
	case b.control():
		delete(p.open, b.producer)
	case b.transactional():
		p.open[b.producer] = b.epoch
	}
}

// end writes the marker that ends a producer's transaction, in the form that kfake gives it. The marker comes before its index entry, as with kfake.
func (p *partition) end(producer int64, commit bool, now time.Time) error {
	raw := marker(p.last.next, p.last.leaderEpoch, producer, p.open[producer], commit, now)
	if err := appendFile(p.active+".dat", raw); err != nil {
		return err
	}
	b, ok := parseBatch(raw, int64(len(raw)))
	if !ok {
		return errors.New("marker of our own does not parse")
	}
	p.note(b)
	return appendFile(p.active+".idx", indexEntry(b))
}

// marker is the control batch that ends a transaction.
func marker(at int64, leaderEpoch int32, producer int64, epoch int16, commit bool, now time.Time) []byte {
	key := kmsg.ControlRecordKey{Type: kmsg.ControlRecordKeyTypeAbort}
	if commit {
		key.Type = kmsg.ControlRecordKeyTypeCommit
	}
	value := kmsg.EndTxnMarker{}
	rec := kmsg.Record{Key: key.AppendTo(nil), Value: value.AppendTo(nil)}
	rec.Length = int32(len(rec.AppendTo(nil)) - 1) // the length itself is one byte
	b := kmsg.RecordBatch{
		FirstOffset: at, PartitionLeaderEpoch: leaderEpoch, Magic: 2, Attributes: transactionalBit | controlBit,
		FirstTimestamp: now.UnixMilli(), MaxTimestamp: now.UnixMilli(),
		ProducerID: producer, ProducerEpoch: epoch, FirstSequence: -1, NumRecords: 1, Records: rec.AppendTo(nil),
	}
	b.Length = int32(len(b.AppendTo(nil)) - 12)
	b.CRC = int32(crc32.Checksum(b.AppendTo(nil)[21:], castagnoli))
	return b.AppendTo(nil)
}

// indexEntry is what the index says of a batch: version, checksum, leader epoch, a time that kfake works out anew when it loads, flags; little-endian.
func indexEntry(b batch) []byte {
	e := make([]byte, indexEntrySize)
	e[0] = folderVersion
	binary.LittleEndian.PutUint32(e[2:], uint32(b.leaderEpoch))
	if b.transactional() {
		e[14] = indexTransactions
	}
	e[1] = byte(crc32.Checksum(e[2:], castagnoli))
	return e
}

// mendIndex makes an index say what its segment says. kfake writes a batch before its entry; a batch without one would pass for a batch of no transaction,
// and each later entry would count for the batch before its own.
func mendIndex(path string, want []byte) error {
	have, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if sameIndex(have, want) {
		return nil
	}
	tmp := path + ".tmp" // kfake removes what ends so when it starts
	if err := os.WriteFile(tmp, want, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// sameIndex compares two indexes but for the times.
func sameIndex(have, want []byte) bool {
	if len(have) != len(want) {
		return false
	}
	for i := 0; i < len(have); i += indexEntrySize {
		h, w := have[i:i+indexEntrySize], want[i:i+indexEntrySize]
		if h[0] != w[0] || h[1] != byte(crc32.Checksum(h[2:], castagnoli)) || !bytes.Equal(h[2:6], w[2:6]) || h[14] != w[14] {
			return false
		}
	}
	return true
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
