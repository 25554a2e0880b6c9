package kafkatx

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/apiversions"
	"github.com/segmentio/kafka-go/protocol/metadata"
)

// strangeBroker answers requests like an honest broker, but for those with one key, after whose answer it ends the connection.
func strangeBroker(t *testing.T, strange protocol.ApiKey, answer func(correlation []byte) []byte) []string {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	serve := func(conn net.Conn) {
		defer func() { _ = conn.Close() }()
		for {
			head := make([]byte, requestHead)
			if _, err := io.ReadFull(conn, head); err != nil {
				return
			}
			if _, err := io.CopyN(io.Discard, conn, int64(binary.BigEndian.Uint32(head))-8); err != nil {
				return
			}
			key := protocol.ApiKey(binary.BigEndian.Uint16(head[4:]))
			if key == strange {
				_, _ = conn.Write(answer(head[8:]))
				return
			}
			if _, err := conn.Write(honest(t, key, int16(binary.BigEndian.Uint16(head[6:])), head[8:])); err != nil {
				return
			}
		}
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go serve(conn)
		}
	}()
	return []string{l.Addr().String()}
}

// framed puts size and correlation id before an answer.
func framed(correlation []byte, answer ...byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(4+len(answer)))
	return append(append(b, correlation...), answer...)
}

// honest is kafka-go's own encoding of an answer that a broker with nothing to hide would give.
func honest(t testing.TB, key protocol.ApiKey, version int16, correlation []byte) []byte {
	t.Helper()
	var m protocol.Message = &metadata.Response{}
	if key == protocol.ApiVersions {
		res := &apiversions.Response{}
		for k := range protocol.ApiKey(40) {
			res.ApiKeys = append(res.ApiKeys, apiversions.ApiKeyResponse{ApiKey: int16(k), MinVersion: 0, MaxVersion: 30})
		}
		m = res
	}
	var b bytes.Buffer
	if err := protocol.WriteResponse(&b, version, int32(binary.BigEndian.Uint32(correlation)), m); err != nil {
		t.Error(err)
	}
	return b.Bytes()
}

// TestStrangeAnswers asks what announces more than it has, at the start and after a good start. Memory has to stay in bounds, nothing may panic or hang, and
// the error has to say what is wrong. It does not run beside other tests, because it counts what is allocated.
func TestStrangeAnswers(t *testing.T) {
	huge := []byte{0x7f, 0xff, 0xff, 0xff}
	const not = "what listens there does not speak Kafka's protocol"
	for _, tc := range []struct {
		name   string
		key    protocol.ApiKey // which request is answered so
		answer func(correlation []byte) []byte
		want   string
	}{
		{"a web server", protocol.ApiVersions, func([]byte) []byte { return []byte("HTTP/1.1 400 Bad Request\r\n\r\n") }, not},
		{"a frame of 2 GB", protocol.ApiVersions, func(id []byte) []byte { return append(slices.Clone(huge), id...) }, not},
		{"a negative frame", protocol.Metadata, func(id []byte) []byte { return append([]byte{0x80, 0, 0, 0}, id...) }, not},
		{"a frame without an answer", protocol.Metadata, func(id []byte) []byte { return framed(id) }, not},
		{"2 billion versions", protocol.ApiVersions, func(id []byte) []byte { return framed(id, append([]byte{0, 0}, huge...)...) }, not},
		{"2 billion brokers", protocol.Metadata, func(id []byte) []byte { return framed(id, append([]byte{0, 0, 0, 0}, huge...)...) }, not},
		{"another's answer", protocol.Metadata, func([]byte) []byte { return framed(huge, 0, 0, 0, 0) }, not},
		{"a frame that ends early", protocol.Metadata, func(id []byte) []byte { return framed(id, 0)[:8] }, "the broker closed the connection"},
		{"an alert of TLS", protocol.ApiVersions, func([]byte) []byte { return []byte{0x15, 3, 1, 0, 2, 2, 70} }, "it expects TLS"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newClient(t, strangeBroker(t, tc.key, tc.answer))
			ctx, cancel := context.WithTimeout(testContext(t), 20*time.Second)
			defer cancel()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := c.Ping(ctx)
			runtime.ReadMemStats(&after)
			wantError(t, err, tc.want)
			if grown := after.TotalAlloc - before.TotalAlloc; grown > 4*maxAnswer {
				t.Errorf("%d bytes were allocated", grown)
			}
		})
	}
}

// FuzzAnswer holds that kafka-go's decoder reads what was found to be sound, and that looking at it costs no more than its size.
func FuzzAnswer(f *testing.F) {
	registerMessages()
	f.Add(uint8(protocol.Metadata), uint8(8), honest(f, protocol.Metadata, 8, make([]byte, 4))[8:])
	f.Add(uint8(protocol.ApiVersions), uint8(0), honest(f, protocol.ApiVersions, 0, make([]byte, 4))[8:])
	f.Add(uint8(protocol.OffsetFetch), uint8(7), []byte{0, 0, 0, 0, 0, 2, 2, 'a', 1, 0, 0, 0, 0})
	f.Add(uint8(protocol.InitProducerId), uint8(4), append([]byte{0}, make([]byte, 17)...))
	f.Add(uint8(protocol.JoinGroup), uint8(7), append([]byte{0}, make([]byte, 40)...))
	f.Fuzz(func(t *testing.T, key, version uint8, answer []byte) {
		if checkAnswer(protocol.ApiKey(key), int16(version), answer) != nil {
			return
		}
		frame := framed(make([]byte, 4), answer...)
		if _, _, err := protocol.ReadResponse(bytes.NewReader(frame), protocol.ApiKey(key), int16(version)); err != nil {
			t.Errorf("%s, version %d: sound, and not read: %v", protocol.ApiKey(key), version, err)
		}
	})
}
