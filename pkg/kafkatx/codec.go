package kafkatx

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// codec is a compression type as numbered in the attributes of a record batch.
type codec int8

const (
	codecNone codec = iota
	codecGzip
	codecSnappy
	codecLz4
	codecZstd
)

// maxInflated bounds what one record batch may decompress to. Our own batches stay below 4 MiB, or hold one record of at most 16 MiB; a
// foreign producer's batch beyond this bound is refused instead of being allowed to take the process's memory.
const maxInflated = 64 << 20

// maxDecoded bounds the memory that the records of one fetch of a partition may take. A fetch with more is taken in parts; a single batch beyond
// it, such as one that is made of millions of empty records, is refused.
const maxDecoded = 2 * maxInflated

var (
	errInflated = fmt.Errorf("record batch decompresses to more than %d bytes", maxInflated)
	errHeavy    = fmt.Errorf("record batch takes more than %d bytes of memory", maxDecoded)
)

func parseCodec(name string) (codec, error) {
	switch name {
	case "none":
		return codecNone, nil
	case "gzip":
		return codecGzip, nil
	case "snappy":
		return codecSnappy, nil
	case "lz4":
		return codecLz4, nil
	case "zstd", "":
		return codecZstd, nil
	}
	return 0, fmt.Errorf("unknown codec %q: want none, gzip, snappy, lz4 or zstd", name)
}

// codecs holds the reusable compressors and decompressors of a client. It is safe for concurrent use, and needs no closing: nothing is
// streamed, so that no goroutine runs between calls.
type codecs struct {
	zenc     *zstd.Encoder
	zdec     *zstd.Decoder
	gzw      sync.Pool // of *gzip.Writer
	gzr      sync.Pool // of *gzip.Reader
	lzw      sync.Pool // of *lz4.Writer
	lzr      sync.Pool // of *lz4.Reader
	inflated sync.Pool // of *[]byte: batches after decompression, the same
	scratch  sync.Pool // of *[]byte: batches before compression, up to 4 MiB each, shared by all producers
}

func newCodecs() (*codecs, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(128<<10),
		zstd.WithEncoderCRC(false), zstd.WithEncoderConcurrency(runtime.GOMAXPROCS(0)))
	if err != nil {
		return nil, fmt.Errorf("make zstd encoder: %w", err)
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderMaxMemory(maxInflated), zstd.WithDecoderConcurrency(runtime.GOMAXPROCS(0)))
	if err != nil {
		return nil, fmt.Errorf("make zstd decoder: %w", err)
	}
	return &codecs{zenc: enc, zdec: dec}, nil
}

// deflate appends the compressed form of src to dst.
func (c *codecs) deflate(kind codec, dst, src []byte) ([]byte, error) {
	switch kind {
	case codecNone:
		return append(dst, src...), nil
	case codecZstd:
		return c.zenc.EncodeAll(src, dst), nil
	case codecSnappy:
		return deflateXerial(dst, src), nil
	case codecGzip:
		w, _ := c.gzw.Get().(*gzip.Writer)
		if w == nil {
			w, _ = gzip.NewWriterLevel(nil, gzip.BestSpeed) // the level is valid
		}
		defer c.gzw.Put(w)
		sink := &appender{b: dst}
		w.Reset(sink)
		_, err := w.Write(src)
		return sink.b, errors.Join(err, w.Close())
	case codecLz4:
		w, _ := c.lzw.Get().(*lz4.Writer)
		if w == nil {
			w = lz4.NewWriter(nil)
		}
		defer c.lzw.Put(w)
		sink := &appender{b: dst}
		w.Reset(sink)
		err := w.Apply(lz4.BlockSizeOption(lz4.Block64Kb), lz4.ChecksumOption(false), lz4.ConcurrencyOption(1))
		if err != nil {
			return dst, err
		}
		_, err = w.Write(src)
		return sink.b, errors.Join(err, w.Close())
	}
	return dst, fmt.Errorf("unknown codec %d", kind)
}

// inflate returns the decompressed form of src, in memory of its own unless kind is none.
func (c *codecs) inflate(kind codec, src []byte) ([]byte, error) {
	switch kind {
	case codecNone:
		return src, nil
	case codecZstd:
		out, err := c.zdec.DecodeAll(src, nil)
		if errors.Is(err, zstd.ErrDecoderSizeExceeded) {
			return nil, errInflated
		}
		return out, err
	case codecSnappy:
		return inflateSnappy(src)
	case codecGzip:
		r, _ := c.gzr.Get().(*gzip.Reader)
		if r == nil {
			r = new(gzip.Reader)
		}
		defer c.gzr.Put(r)
		if err := r.Reset(bytes.NewReader(src)); err != nil {
			return nil, err
		}
		return c.readBounded(r)
	case codecLz4:
		r, _ := c.lzr.Get().(*lz4.Reader)
		if r == nil {
			r = lz4.NewReader(nil)
		}
		defer c.lzr.Put(r)
		r.Reset(bytes.NewReader(src))
		return c.readBounded(r)
	}
	return nil, fmt.Errorf("unknown codec %d", kind)
}

// readBounded reads to the end of r, by way of a buffer that is used again, so that what is returned is as large as it has to be.
func (c *codecs) readBounded(r io.Reader) ([]byte, error) {
	p, _ := c.inflated.Get().(*[]byte)
	if p == nil {
		p = new(make([]byte, 0, 64<<10))
	}
	b := (*p)[:0]
	for {
		if len(b) == cap(b) {
			b = append(make([]byte, 0, min(2*cap(b), maxInflated+1)), b...)
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		switch {
		case len(b) > maxInflated:
			return nil, errInflated
		case err == nil:
		case !errors.Is(err, io.EOF):
			return nil, err
		case len(b) > rawBatchBytes: // not one of ours: the buffer is let go with it
			return b, nil
		default:
			out := bytes.Clone(b) // before the buffer may be another's
			*p = b
			c.inflated.Put(p)
			return out, nil
		}
	}
}

// xerialHeader starts the framing that the Java client puts around snappy blocks: magic, version 1, compatible with 1.
const xerialHeader = "\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01"

// xerialBlock is the block size of the Java client.
const xerialBlock = 32 << 10

func deflateXerial(dst, src []byte) []byte {
	dst = append(dst, xerialHeader...)
	var block []byte
	for len(src) > 0 {
		n := min(len(src), xerialBlock)
		block = s2.EncodeSnappy(block[:cap(block)], src[:n])
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(block)))
		dst = append(dst, block...)
		src = src[n:]
	}
	return dst
}

// inflateSnappy reads both the Java client's framing and a bare snappy block, which other clients write.
func inflateSnappy(src []byte) ([]byte, error) {
	if !bytes.HasPrefix(src, []byte(xerialHeader[:8])) {
		return appendSnappy(nil, src)
	}
	if len(src) < len(xerialHeader) {
		return nil, io.ErrUnexpectedEOF
	}
	src = src[len(xerialHeader):]
	var out []byte
	for len(src) > 0 {
		if len(src) < 4 {
			return nil, io.ErrUnexpectedEOF
		}
		n := binary.BigEndian.Uint32(src)
		src = src[4:]
		if uint64(n) > uint64(len(src)) {
			return nil, io.ErrUnexpectedEOF
		}
		var err error
		if out, err = appendSnappy(out, src[:n]); err != nil {
			return nil, err
		}
		src = src[n:]
	}
	return out, nil
}

func appendSnappy(dst, block []byte) ([]byte, error) {
	n, err := s2.DecodedLen(block)
	if err != nil {
		return nil, err
	}
	if n > maxInflated-len(dst) {
		return nil, errInflated
	}
	old := len(dst)
	if cap(dst)-old < n {
		dst = append(make([]byte, 0, max(2*cap(dst), old+n)), dst...)
	}
	out, err := s2.Decode(dst[old:old+n:old+n], block)
	if err != nil {
		return nil, err
	}
	if len(out) > 0 && &out[0] != &dst[:old+1][old] {
		return append(dst, out...), nil
	}
	return dst[:old+n], nil
}

// appender is a writer onto the end of a slice.
type appender struct{ b []byte }

func (a *appender) Write(p []byte) (int, error) {
	a.b = append(a.b, p...)
	return len(p), nil
}
