package kafkatx

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"slices"
	"time"
)

// Positions of the fields of a record batch, format v2 (Kafka documentation, section 5.3.1).
const (
	atLength    = 8
	atMagic     = 16
	atCRC       = 17
	atAttrs     = 21
	atLastDelta = 23
	atFirstTime = 27
	atMaxTime   = 35
	atProducer  = 43
	atEpoch     = 51
	atSequence  = 53
	atCount     = 57
	headerSize  = 61

	lengthSkips = 12 // base offset and length are not counted by the length field

	attrCodec         = 0x07
	attrLogAppend     = 0x08
	attrTransactional = 0x10
	attrControl       = 0x20

	recordWeight = 128 // bytes of memory of a Record
	headerWeight = 40  // of a Header

	minRecordSize = 7 // length, attributes, time delta, offset delta, key length, value length, header count: one byte each
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)

	// errPartial says that the bytes end inside a batch, as the last batch of a fetch may.
	errPartial = errors.New("partial record batch")
)

// appendBatch appends one record batch to dst: the records' keys, values and headers, compressed, under the given producer and sequence.
// A record without a time gets now. The result can be sent any number of times. raw is its size before compression.
func (c *codecs) appendBatch(dst []byte, kind codec, recs []Record, now time.Time, from producerState) (out []byte, raw int, err error) {
	first, last := int64(math.MaxInt64), int64(math.MinInt64)
	for i := range recs {
		t := stamp(&recs[i], now)
		first, last = min(first, t), max(last, t)
	}
	scratch, _ := c.scratch.Get().(*[]byte)
	if scratch == nil {
		scratch = new([]byte)
	}
	defer c.scratch.Put(scratch)
	body := (*scratch)[:0]
	for i := range recs {
		body = appendRecord(body, &recs[i], int64(i), stamp(&recs[i], now)-first)
	}
	*scratch = body

	start := len(dst)
	dst = append(dst, make([]byte, headerSize)...)
	if dst, err = c.deflate(kind, dst, body); err != nil {
		return dst[:start], 0, fmt.Errorf("compress record batch: %w", err)
	}
	b := dst[start:]
	attrs := uint16(kind)
	if from.transactional {
		attrs |= attrTransactional
	}
	binary.BigEndian.PutUint32(b[atLength:], uint32(len(b)-lengthSkips))
	binary.BigEndian.PutUint32(b[12:], math.MaxUint32) // partition leader epoch: unknown
	b[atMagic] = 2
	binary.BigEndian.PutUint16(b[atAttrs:], attrs)
	binary.BigEndian.PutUint32(b[atLastDelta:], uint32(len(recs)-1))
	binary.BigEndian.PutUint64(b[atFirstTime:], uint64(first))
	binary.BigEndian.PutUint64(b[atMaxTime:], uint64(last))
	binary.BigEndian.PutUint64(b[atProducer:], uint64(from.id))
	binary.BigEndian.PutUint16(b[atEpoch:], uint16(from.epoch))
	binary.BigEndian.PutUint32(b[atSequence:], uint32(from.sequence))
	binary.BigEndian.PutUint32(b[atCount:], uint32(len(recs)))
	binary.BigEndian.PutUint32(b[atCRC:], crc32.Checksum(b[atAttrs:], castagnoli))
	return dst, len(body), nil
}

// producerState is what a batch says about its writer.
type producerState struct {
	id            int64
	epoch         int16
	sequence      int32
	transactional bool
}

func stamp(r *Record, now time.Time) int64 {
	if r.Time.IsZero() {
		return now.UnixMilli()
	}
	return r.Time.UnixMilli()
}

func appendRecord(b []byte, r *Record, offsetDelta, timeDelta int64) []byte {
	b = binary.AppendVarint(b, int64(recordBody(r, offsetDelta, timeDelta)))
	b = append(b, 0) // attributes: none are defined
	b = binary.AppendVarint(b, timeDelta)
	b = binary.AppendVarint(b, offsetDelta)
	b = appendNullable(b, r.Key)
	b = appendNullable(b, r.Value)
	b = binary.AppendVarint(b, int64(len(r.Headers)))
	for i := range r.Headers {
		h := &r.Headers[i]
		b = binary.AppendVarint(b, int64(len(h.Key)))
		b = append(b, h.Key...)
		b = appendNullable(b, h.Value)
	}
	return b
}

func appendNullable(b, v []byte) []byte {
	if v == nil {
		return append(b, 1) // zigzag of -1
	}
	b = binary.AppendVarint(b, int64(len(v)))
	return append(b, v...)
}

// recordBody is the length of an encoded record without its own length field.
func recordBody(r *Record, offsetDelta, timeDelta int64) int {
	n := 1 + varintSize(timeDelta) + varintSize(offsetDelta) + nullableSize(r.Key) + nullableSize(r.Value) + varintSize(int64(len(r.Headers)))
	for i := range r.Headers {
		h := &r.Headers[i]
		n += varintSize(int64(len(h.Key))) + len(h.Key) + nullableSize(h.Value)
	}
	return n
}

// recordSize bounds the encoded size of a record from above.
func recordSize(r *Record) int { return recordBody(r, math.MaxInt32, math.MaxInt32) + 5 }

func nullableSize(v []byte) int {
	if v == nil {
		return 1
	}
	return varintSize(int64(len(v))) + len(v)
}

func varintSize(v int64) int {
	u := uint64(v<<1) ^ uint64(v>>63)
	n := 1
	for ; u >= 0x80; u >>= 7 {
		n++
	}
	return n
}

// batch is the header of a record batch that was read, and its records still compressed.
type batch struct {
	base      int64
	lastDelta int32
	attrs     uint16
	firstTime int64
	maxTime   int64
	producer  int64
	count     int32
	body      []byte
}

func (b *batch) last() int64         { return b.base + int64(b.lastDelta) }
func (b *batch) transactional() bool { return b.attrs&attrTransactional != 0 }
func (b *batch) control() bool       { return b.attrs&attrControl != 0 }

// nextBatch splits the first batch off a record set and checks its sum. errPartial means that the set ends within it.
func nextBatch(set []byte) (b batch, rest []byte, err error) {
	if len(set) < lengthSkips {
		return b, nil, errPartial
	}
	n := int64(int32(binary.BigEndian.Uint32(set[atLength:]))) + lengthSkips
	if len(set) > atMagic && set[atMagic] != 2 {
		return b, nil, fmt.Errorf("record batch has format %d: only format 2 is supported", set[atMagic])
	}
	if n < headerSize {
		return b, nil, fmt.Errorf("record batch says that it is %d bytes long: shorter than its header", n)
	}
	if n > int64(len(set)) {
		return b, nil, errPartial
	}
	raw := set[:n:n]
	if got, want := crc32.Checksum(raw[atAttrs:], castagnoli), binary.BigEndian.Uint32(raw[atCRC:]); got != want {
		return b, nil, fmt.Errorf("record batch at offset %d: checksum is %08x, says %08x", binary.BigEndian.Uint64(raw), got, want)
	}
	b = batch{
		base:      int64(binary.BigEndian.Uint64(raw)),
		lastDelta: int32(binary.BigEndian.Uint32(raw[atLastDelta:])),
		attrs:     binary.BigEndian.Uint16(raw[atAttrs:]),
		firstTime: int64(binary.BigEndian.Uint64(raw[atFirstTime:])),
		maxTime:   int64(binary.BigEndian.Uint64(raw[atMaxTime:])),
		producer:  int64(binary.BigEndian.Uint64(raw[atProducer:])),
		count:     int32(binary.BigEndian.Uint32(raw[atCount:])),
		body:      raw[headerSize:],
	}
	if b.base < 0 || b.lastDelta < 0 || b.count < 0 || b.base > math.MaxInt64-math.MaxInt32 {
		return b, nil, fmt.Errorf("record batch at offset %d: impossible counts %d, %d", b.base, b.lastDelta, b.count)
	}
	return b, set[n:], nil
}

// records decompresses and decodes a batch and appends its records to out, leaving out what lies before from. The memory that this takes is subtracted from
// spare; where that is not enough, the error is errHeavy.
func (c *codecs) records(out []Record, b *batch, topic string, partition int32, from int64, spare *int) ([]Record, error) {
	body, err := c.inflate(codec(b.attrs&attrCodec), b.body)
	if err != nil {
		return nil, fmt.Errorf("record batch at offset %d: decompress: %w", b.base, err)
	}
	if int64(b.count)*minRecordSize > int64(len(body)) {
		return nil, fmt.Errorf("record batch at offset %d: %d records do not fit %d bytes", b.base, b.count, len(body))
	}
	d := recordDecoder{topic: topic, partition: partition, batch: b, spare: spare}
	if *spare -= len(body) + int(b.count)*recordWeight; *spare < 0 {
		return nil, fmt.Errorf("record batch at offset %d: %w", b.base, errHeavy)
	}
	out = slices.Grow(out, int(b.count))
	for i := range b.count {
		n, w := binary.Varint(body)
		if w <= 0 || n < 0 || n > int64(len(body)-w) {
			return nil, fmt.Errorf("record batch at offset %d: record %d is cut off", b.base, i)
		}
		r, ok := d.decode(body[w : w+int(n)])
		if *spare < 0 {
			return nil, fmt.Errorf("record batch at offset %d: %w", b.base, errHeavy)
		}
		if !ok {
			return nil, fmt.Errorf("record batch at offset %d: record %d is malformed", b.base, i)
		}
		body = body[w+int(n):]
		if r.Offset >= from {
			out = append(out, r)
		}
	}
	if len(body) != 0 {
		return nil, fmt.Errorf("record batch at offset %d: %d bytes after the last record", b.base, len(body))
	}
	return out, nil
}

// markerIsAbort reads the type of a control record: abort or commit.
func (c *codecs) markerIsAbort(b *batch) (bool, error) {
	spare := maxDecoded
	recs, err := c.records(nil, b, "", 0, b.base, &spare)
	if err != nil {
		return false, err
	}
	if len(recs) == 0 {
		return false, nil // compaction removed the marker and kept the empty batch
	}
	if len(recs[0].Key) < 4 {
		return false, fmt.Errorf("control batch at offset %d: key of %d bytes", b.base, len(recs[0].Key))
	}
	return binary.BigEndian.Uint16(recs[0].Key[2:]) == 0, nil
}

// recordDecoder decodes the records of one batch. Header slices come out of shared slabs, and header keys, which repeat from record to
// record, are taken from the record before.
type recordDecoder struct {
	topic     string
	partition int32
	batch     *batch
	slab      []Header
	prev      []Header
	spare     *int // bytes of memory that may still be taken; below 0 = too much was
}

const headerSlab = 256

func (d *recordDecoder) decode(b []byte) (r Record, ok bool) {
	p := cursor{b: b}
	p.skip(1)
	timeDelta, offsetDelta := p.varint(), p.varint()
	key, value := p.nullable(), p.nullable()
	count := p.varint()
	if p.bad || count < 0 || 2*count > int64(len(p.b)) || offsetDelta < 0 || offsetDelta > int64(d.batch.lastDelta) {
		return r, false
	}
	headers := d.headers(&p, int(count))
	if p.bad || len(p.b) != 0 {
		return r, false
	}
	at := d.batch.firstTime + timeDelta
	if d.batch.attrs&attrLogAppend != 0 {
		at = d.batch.maxTime
	}
	return Record{
		Topic: d.topic, Partition: d.partition, Offset: d.batch.base + offsetDelta, Time: time.UnixMilli(at).UTC(),
		Key: key, Value: value, Headers: headers,
	}, true
}

func (d *recordDecoder) headers(p *cursor, n int) []Header {
	if n == 0 {
		return nil
	}
	if cap(d.slab)-len(d.slab) < n {
		if *d.spare -= max(n, headerSlab) * headerWeight; *d.spare < 0 {
			return nil
		}
		d.slab = make([]Header, 0, max(n, headerSlab))
	}
	start := len(d.slab)
	for i := range n {
		k := p.bytes(p.varint())
		h := Header{Value: p.nullable()}
		if i < len(d.prev) && d.prev[i].Key == string(k) {
			h.Key = d.prev[i].Key
		} else {
			h.Key = string(k)
			*d.spare -= len(k)
		}
		d.slab = append(d.slab, h)
	}
	d.prev = d.slab[start:len(d.slab):len(d.slab)]
	return d.prev
}

// cursor reads forward through bytes and remembers whether it ever ran out of them.
type cursor struct {
	b   []byte
	bad bool
}

func (c *cursor) skip(n int) { c.bytes(int64(n)) }

func (c *cursor) varint() int64 {
	v, n := binary.Varint(c.b)
	if n <= 0 {
		c.bad, c.b = true, nil
		return 0
	}
	c.b = c.b[n:]
	return v
}

func (c *cursor) bytes(n int64) []byte {
	if n < 0 || n > int64(len(c.b)) {
		c.bad, c.b = true, nil
		return nil
	}
	v := c.b[:n:n]
	c.b = c.b[n:]
	return v
}

func (c *cursor) nullable() []byte {
	n := c.varint()
	if n < 0 {
		return nil
	}
	return c.bytes(n)
}
