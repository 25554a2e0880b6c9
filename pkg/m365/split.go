package m365

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// ErrCutShort is wrapped by Splitter's error when the input ends before the array does.
var ErrCutShort = errors.New("array is cut short")

// ErrRecordTooLarge is wrapped by Splitter's error when one record is larger than the bound.
var ErrRecordTooLarge = errors.New("record is larger than the bound")

// Splitter cuts a JSON array into its elements and hands out the exact bytes of each. It finds borders only: whether an element is
// valid JSON is for the reader of the element to say. Memory is bounded by the largest element.
type Splitter struct {
	r     io.Reader // nil: buf is all there is
	buf   []byte
	pos   int   // next byte to look at
	base  int64 // offset in the input of buf[0]
	max   int
	begun bool
	err   error
}

const splitterBuffer = 64 << 10

// NewSplitter splits what r gives, refusing elements of more than maxRecord bytes. What Next returns is valid until the next call.
func NewSplitter(r io.Reader, maxRecord int) *Splitter {
	return &Splitter{r: r, buf: make([]byte, 0, splitterBuffer), max: maxRecord}
}

// SplitBytes splits an array that is in memory. What Next returns are parts of array.
func SplitBytes(array []byte) *Splitter {
	return &Splitter{buf: array, max: len(array)}
}

// Offset is how many bytes of the input are behind the splitter: after Next, the end of the element that it returned.
func (s *Splitter) Offset() int64 { return s.base + int64(s.pos) }

// Next returns the next element, or io.EOF after the end of an array that is whole and followed by nothing. Any other error is
// final; every element before it was returned.
func (s *Splitter) Next() ([]byte, error) {
	if s.err != nil {
		return nil, s.err
	}
	rec, err := s.next()
	if err != nil {
		s.err = err
		return nil, err
	}
	return rec, nil
}

func (s *Splitter) next() ([]byte, error) {
	c, err := s.peek()
	if err != nil {
		return nil, s.cut(err)
	}
	switch {
	case !s.begun:
		if c != '[' {
			return nil, s.unexpected("[", c)
		}
		s.begun = true
		s.pos++
		if c, err = s.peek(); err != nil {
			return nil, s.cut(err)
		}
		if c == ']' {
			return nil, s.finish()
		}
	case c == ']':
		return nil, s.finish()
	case c == ',':
		s.pos++
		if c, err = s.peek(); err != nil {
			return nil, s.cut(err)
		}
	default:
		return nil, s.unexpected(", or ]", c)
	}
	switch c {
	case ',', ':', ']', '}':
		return nil, s.unexpected("a value", c)
	}
	return s.element(c)
}

// element returns the value that begins with c at pos.
func (s *Splitter) element(c byte) ([]byte, error) {
	start, i := s.pos, s.pos
	var st scan
	for {
		var done bool
		if c == '{' || c == '[' || c == '"' {
			i, done = st.composite(s.buf, i)
		} else {
			i, done = scalarEnd(s.buf, i)
		}
		if done {
			break
		}
		if len(s.buf)-start >= s.max {
			return nil, fmt.Errorf("%w: %d bytes at offset %d", ErrRecordTooLarge, s.max, s.base+int64(start))
		}
		s.pos = start
		if err := s.refill(); err != nil {
			return nil, s.cut(err)
		}
		i -= start - s.pos
		start = s.pos
	}
	s.pos = i
	if i-start > s.max {
		return nil, fmt.Errorf("%w: %d bytes at offset %d", ErrRecordTooLarge, s.max, s.base+int64(start))
	}
	return s.buf[start:i:i], nil
}

// scan is where a walk over an object, list or string stands between two pieces of the input.
type scan struct {
	depth  int
	quoted bool
}

// structure marks the bytes that a walk outside of strings stops at.
var structure = [256]int8{'"': 2, '{': 1, '[': 1, '}': -1, ']': -1}

// composite walks on at b[i] and returns the index behind the value's end, or the length of b and false.
func (s *scan) composite(b []byte, i int) (int, bool) {
	for {
		if s.quoted {
			end := quoteEnd(b, i)
			if end < 0 {
				return len(b), false
			}
			i, s.quoted = end, false
			if s.depth == 0 {
				return i, true
			}
		}
		for ; i < len(b); i++ {
			mark := structure[b[i]]
			if mark == 0 {
				continue
			}
			if mark == 2 {
				s.quoted = true
				i++
				break
			}
			s.depth += int(mark)
			if s.depth == 0 {
				return i + 1, true
			}
		}
		if !s.quoted {
			return i, false
		}
	}
}

// quoteEnd returns the index behind the quote that ends the string which b[i] is inside of, or -1. The opening quote, which lies
// before i, ends the count of backslashes.
func quoteEnd(b []byte, i int) int {
	for {
		j := bytes.IndexByte(b[i:], '"')
		if j < 0 {
			return -1
		}
		j += i
		k := j
		for k > 0 && b[k-1] == '\\' {
			k--
		}
		i = j + 1
		if (j-k)%2 == 0 {
			return i
		}
	}
}

// scalarEnd walks over a number or word.
func scalarEnd(b []byte, i int) (int, bool) {
	for ; i < len(b); i++ {
		switch b[i] {
		case ',', ']', '}', ' ', '\t', '\r', '\n':
			return i, true
		}
	}
	return i, false
}

// finish passes the end of the array, behind which only white space may come.
func (s *Splitter) finish() error {
	s.pos++
	c, err := s.peek()
	if err == nil {
		return s.unexpected("the end", c)
	}
	return err
}

// peek skips white space and returns the byte behind it, or io.EOF.
func (s *Splitter) peek() (byte, error) {
	for {
		for s.pos < len(s.buf) {
			switch c := s.buf[s.pos]; c {
			case ' ', '\t', '\r', '\n':
				s.pos++
			case 0xEF: // a byte order mark before the array
				if s.begun || s.Offset() != 0 || !s.skipMark() {
					return c, nil
				}
			default:
				return c, nil
			}
		}
		if err := s.refill(); err != nil {
			return 0, err
		}
	}
}

func (s *Splitter) skipMark() bool {
	for len(s.buf)-s.pos < 3 {
		if s.refill() != nil {
			return false
		}
	}
	if !bytes.HasPrefix(s.buf[s.pos:], []byte("\xEF\xBB\xBF")) {
		return false
	}
	s.pos += 3
	return true
}

// refill drops what is behind pos and reads more, making room if there is none.
func (s *Splitter) refill() error {
	if s.r == nil {
		return io.EOF
	}
	if s.pos > 0 {
		n := copy(s.buf, s.buf[s.pos:])
		s.base += int64(s.pos)
		s.buf, s.pos = s.buf[:n], 0
	}
	if len(s.buf) == cap(s.buf) {
		grown := make([]byte, len(s.buf), 2*cap(s.buf))
		copy(grown, s.buf)
		s.buf = grown
	}
	for range 100 { // a reader may return nothing now and then, not forever
		n, err := s.r.Read(s.buf[len(s.buf):cap(s.buf)])
		s.buf = s.buf[:len(s.buf)+n]
		if n > 0 {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

func (s *Splitter) cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w at offset %d", ErrCutShort, s.base+int64(len(s.buf)))
	}
	return err
}

func (s *Splitter) unexpected(want string, got byte) error {
	return fmt.Errorf("%w: %q instead of %s at offset %d of the array", ErrBadAnswer, got, want, s.Offset())
}
