package kafkatx

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"reflect"
	"strings"
	"sync"

	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/apiversions"
	"github.com/segmentio/kafka-go/protocol/describeconfigs"
	"github.com/segmentio/kafka-go/protocol/findcoordinator"
	"github.com/segmentio/kafka-go/protocol/joingroup"
	"github.com/segmentio/kafka-go/protocol/leavegroup"
	"github.com/segmentio/kafka-go/protocol/metadata"
	"github.com/segmentio/kafka-go/protocol/produce"
	"github.com/segmentio/kafka-go/protocol/saslauthenticate"
	"github.com/segmentio/kafka-go/protocol/saslhandshake"
	"github.com/segmentio/kafka-go/protocol/syncgroup"
)

const (
	// maxAnswer bounds an answer that is not a fetch: enough for the metadata of 100,000 partitions.
	maxAnswer = 8 << 20

	// maxFetchAnswer bounds an answer to a fetch, which is decoded as it arrives.
	maxFetchAnswer = maxRecordSet + maxAnswer

	// requestHead is the length of size, API key, version and correlation id, which start a request.
	requestHead = 12
)

// errAnswer says that what came back is no answer to what was asked.
var errAnswer = errors.New("not an answer of a Kafka broker")

// guardedConn stands between a connection and kafka-go's decoder, which makes an array or a string of any length that an answer announces, and goes on for as
// many elements, before it looks at what there is: four bytes of a broken broker, or of something else that listens on the port, would take the process's memory.
// It passes on whole answers whose every length has been found to be true. There is one request at a time on a connection.
type guardedConn struct {
	net.Conn
	head    []byte // of the request under way, until it is complete
	answer  bytes.Reader
	streams int64 // bytes of an answer that are passed on as they come
}

// Write implements net.Conn.
func (g *guardedConn) Write(b []byte) (int, error) {
	g.head = append(g.head, b[:min(len(b), requestHead-len(g.head))]...)
	return g.Conn.Write(b)
}

// Read implements net.Conn.
func (g *guardedConn) Read(b []byte) (int, error) {
	if g.answer.Len() == 0 && g.streams == 0 {
		if err := g.receive(); err != nil {
			return 0, err
		}
	}
	if g.answer.Len() > 0 {
		return g.answer.Read(b)
	}
	n, err := g.Conn.Read(b[:min(int64(len(b)), g.streams)])
	g.streams -= int64(n)
	return n, err
}

// receive reads the next answer as far as it has to be looked at.
func (g *guardedConn) receive() error {
	var start [8]byte // size and correlation id
	if _, err := io.ReadFull(g.Conn, start[:]); err != nil {
		if start[0] == 0x15 && start[1] == 3 {
			err = fmt.Errorf("%w behind an alert of TLS", io.ErrUnexpectedEOF)
		}
		return err
	}
	if len(g.head) < requestHead {
		return fmt.Errorf("%w: it came before the request", errAnswer)
	}
	key := protocol.ApiKey(binary.BigEndian.Uint16(g.head[4:]))
	version := int16(binary.BigEndian.Uint16(g.head[6:]))
	size := int64(int32(binary.BigEndian.Uint32(start[:]))) - 4
	limit := int64(maxAnswer)
	if key == protocol.Fetch {
		limit = maxFetchAnswer
	}
	switch {
	case size < 0 || size > limit:
		return fmt.Errorf("%w: %d bytes for %s", errAnswer, size+4, key)
	case !bytes.Equal(start[4:], g.head[8:]):
		return fmt.Errorf("%w: to another request than %s", errAnswer, key)
	}
	g.head = g.head[:0]
	if key == protocol.Fetch {
		g.answer.Reset(start[:])
		g.streams = size
		return nil
	}
	frame := bytes.NewBuffer(start[:])
	if _, err := io.CopyN(frame, g.Conn, size); err != nil { // grows with what arrives
		return fmt.Errorf("answer of %d bytes to %s: %w", size, key, noEOF(err))
	}
	if err := checkAnswer(key, version, frame.Bytes()[len(start):]); err != nil {
		return err
	}
	g.answer.Reset(frame.Bytes())
	return nil
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// checkAnswer walks through an answer, behind its correlation id, as the decoder will, and makes sure that all that it announces is there.
func checkAnswer(key protocol.ApiKey, version int16, answer []byte) error {
	s, ok := answerShapes()[answerKind{key, version}]
	if !ok {
		return fmt.Errorf("%w: to version %d of %s, which is not sent", errAnswer, version, key)
	}
	w := walker{cursor: cursor{b: answer}, flexible: s.flexible}
	if s.flexible {
		w.tags() // of the header
	}
	w.value(&s)
	if w.bad {
		return fmt.Errorf("%w: the %d bytes for %s are not what version %d has", errAnswer, len(answer), key, version)
	}
	return nil
}

type answerKind struct {
	key     protocol.ApiKey
	version int16
}

// shape is what one version of a message has on the wire.
type shape struct {
	size     int     // of a number
	prefix   int     // size of the length before a string or an array
	elem     *shape  // of an array, but for one of bytes
	fields   []shape // of a struct
	flexible bool
}

// answerShapes are those of the answers to all requests that are sent, but for fetches, whose decoder is ours.
var answerShapes = sync.OnceValue(func() map[answerKind]shape {
	shapes := map[answerKind]shape{}
	for _, m := range []protocol.Message{
		&apiversions.Response{}, &metadata.Response{}, &saslhandshake.Response{}, &saslauthenticate.Response{}, &describeconfigs.Response{},
		&createTopicsResponse{}, &listOffsetsResponse{}, &produce.Response{}, &initProducerResponse{}, &addPartitionsResponse{},
		&addOffsetsResponse{}, &txnOffsetCommitResponse{}, &endTxnResponse{}, &findcoordinator.Response{}, &joingroup.Response{},
		&syncgroup.Response{}, &leavegroup.Response{}, &heartbeatResponse{}, &offsetFetchResponse{},
	} {
		key := m.ApiKey()
		for v := key.MinVersion(); v <= key.MaxVersion(); v++ {
			shapes[answerKind{key, v}] = shapeOf(reflect.TypeOf(m).Elem(), v)
		}
	}
	return shapes
})

// shapeOf finds a shape by the types and tags that kafka-go's decoder goes by.
func shapeOf(typ reflect.Type, version int16) shape {
	switch typ.Kind() {
	case reflect.String:
		return shape{prefix: 2}
	case reflect.Slice:
		if typ.Elem().Kind() == reflect.Uint8 {
			return shape{prefix: 4}
		}
		return shape{prefix: 4, elem: new(shapeOf(typ.Elem(), version))}
	case reflect.Struct:
		s := shape{fields: []shape{}}
		for f := range typ.Fields() {
			switch in, marker := tagged(f.Tag.Get("kafka"), version); {
			case in && marker:
				s.flexible = true
			case in:
				s.fields = append(s.fields, shapeOf(f.Type, version))
			}
		}
		return s
	default:
		return shape{size: int(typ.Size())}
	}
}

// tagged says whether a version of a message has a field with such a tag, and whether the field only marks the version as flexible.
func tagged(tag string, version int16) (in, marker bool) {
	for alternative := range strings.SplitSeq(tag, "|") {
		var first, last int16
		if _, err := fmt.Sscanf(alternative, "min=v%d,max=v%d", &first, &last); err == nil && first <= version && version <= last {
			return true, strings.HasSuffix(alternative, ",tag")
		}
	}
	return false, false
}

// walker walks through a message by its shape.
type walker struct {
	cursor
	flexible bool
}

func (w *walker) value(s *shape) {
	switch {
	case s.elem != nil:
		n := w.length(s.prefix)
		w.bad = w.bad || n > int64(len(w.b)) // every element takes a byte at least
		for ; n > 0 && !w.bad; n-- {
			w.value(s.elem)
		}
	case s.prefix > 0:
		w.bytes(w.length(s.prefix))
	case s.fields != nil:
		for i := range s.fields {
			w.value(&s.fields[i])
		}
		if w.flexible {
			w.tags()
		}
	default:
		w.skip(s.size)
	}
}

// length reads the length of a string or an array, a plain one in so many bytes. Null counts as empty.
func (w *walker) length(size int) int64 {
	if w.flexible {
		return max(0, w.uvarint()-1)
	}
	switch b := w.bytes(int64(size)); len(b) {
	case 2:
		return int64(max(0, int16(binary.BigEndian.Uint16(b))))
	case 4:
		return int64(max(0, int32(binary.BigEndian.Uint32(b))))
	}
	return 0
}

// tags passes over tagged fields, none of which has a meaning in the messages that we use.
func (w *walker) tags() {
	for n := w.uvarint(); n > 0 && !w.bad; n-- {
		w.uvarint()
		w.bytes(w.uvarint())
	}
}

// uvarint reads a number of up to 32 bits, which is all that the protocol has.
func (w *walker) uvarint() int64 {
	v, n := binary.Uvarint(w.b)
	if n <= 0 || v > math.MaxUint32 {
		w.bad, w.b = true, nil
		return 0
	}
	w.b = w.b[n:]
	return int64(v)
}
