package kafkatx

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	kafka "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/apiversions"
	"github.com/segmentio/kafka-go/protocol/findcoordinator"
	"github.com/segmentio/kafka-go/sasl"
)

// ClientConfig says how to reach a Kafka cluster.
type ClientConfig struct {
	Brokers     []string              // host:port of the brokers to ask first; give all that are known
	ClientID    string                // shown in the brokers' logs and quotas; default "millrace"
	TLS         *tls.Config           // nil = no TLS
	SASL        sasl.Mechanism        // nil = no authentication
	Logger      *slog.Logger          // nil = silent
	Registerer  prometheus.Registerer // nil = metrics are kept and not registered
	DialTimeout time.Duration         // for a connection with its handshakes; default 5 s
}

const (
	// requestTimeout is how long one try of a request may take. A try that is given up counts as one whose answer was lost.
	requestTimeout = 15 * time.Second

	// brokersTTL bounds the age of the transport's own list of brokers; topics are looked after by layout.
	brokersTTL = 3 * time.Second
)

// Client is a connection pool to one cluster. It is safe for concurrent use.
type Client struct {
	cfg       ClientConfig
	log       *slog.Logger
	metrics   *metrics
	codecs    *codecs
	addr      net.Addr
	transport *kafka.Transport
	layout    layout

	mu           sync.Mutex // guards what follows
	closed       bool
	conns        map[net.Conn]struct{}
	coordinators map[coordinatorKey]int32
}

// errClosed is what every call on a closed client gets.
var errClosed = permanentError{errors.New("the kafka client is closed")}

type coordinatorKey struct {
	kind int8 // 0 group, 1 transaction
	key  string
}

// NewClient makes a client. It does no I/O: Ping does.
func NewClient(cfg ClientConfig) (*Client, error) {
	if len(cfg.Brokers) == 0 {
		return nil, errors.New("kafka client: no brokers configured")
	}
	if cfg.ClientID == "" {
		cfg.ClientID = "millrace"
	}
	if cfg.DialTimeout <= 0 {
		cfg.DialTimeout = 5 * time.Second
	}
	registerMessages()
	cs, err := newCodecs()
	if err != nil {
		return nil, fmt.Errorf("kafka client: %w", err)
	}
	c := &Client{
		cfg: cfg, log: cfg.Logger, codecs: cs, metrics: newMetrics(cfg.Registerer), addr: kafka.TCP(cfg.Brokers...),
		conns: map[net.Conn]struct{}{}, coordinators: map[coordinatorKey]int32{},
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	c.layout.init()
	c.transport = &kafka.Transport{
		Dial: c.dial, DialTimeout: cfg.DialTimeout, IdleTimeout: 30 * time.Second, MetadataTTL: brokersTTL,
		MetadataTopics: []string{}, // brokers only
		ClientID:       cfg.ClientID, SASL: cfg.SASL,
	}
	return c, nil
}

// Close ends all connections. Requests under way fail.
func (c *Client) Close() {
	c.mu.Lock()
	c.closed = true
	conns := c.conns
	c.conns = map[net.Conn]struct{}{}
	c.mu.Unlock()
	c.transport.CloseIdleConnections()
	for conn := range conns {
		_ = conn.(*trackedConn).Conn.Close() // it is being thrown away
	}
}

// trackedConn lets Close end connections that wait for an answer.
type trackedConn struct {
	guardedConn
	client *Client
}

// Close implements net.Conn.
func (t *trackedConn) Close() error {
	t.client.mu.Lock()
	delete(t.client.conns, t)
	t.client.mu.Unlock()
	return t.Conn.Close()
}

func (c *Client) dial(ctx context.Context, network, address string) (net.Conn, error) {
	dial := (&net.Dialer{Timeout: c.cfg.DialTimeout}).DialContext
	if c.cfg.TLS != nil { // here and not in the transport, so that answers can be looked at
		dial = (&tls.Dialer{NetDialer: &net.Dialer{Timeout: c.cfg.DialTimeout}, Config: c.cfg.TLS}).DialContext
	}
	conn, err := dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	t := &trackedConn{guardedConn{Conn: conn}, c}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errors.Join(net.ErrClosed, conn.Close())
	}
	c.conns[t] = struct{}{}
	return t, nil
}

// call sends one request once.
func call[R protocol.Message](ctx context.Context, c *Client, timeout time.Duration, req protocol.Message) (R, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var none R
	c.mu.Lock()
	closed := c.closed
	c.mu.Unlock()
	if closed {
		return none, errClosed
	}
	res, err := c.transport.RoundTrip(ctx, c.addr, req)
	if err != nil {
		return none, err
	}
	r, ok := res.(R)
	if !ok {
		return none, fmt.Errorf("answer of type %T to a request of type %T", res, req)
	}
	return r, nil
}

// retry calls f until it succeeds, fails for good, or ctx ends.
func (c *Client) retry(ctx context.Context, op string, f func() error) error {
	var b backoff
	slow := patience{log: c.log}
	for {
		err := f()
		if err == nil {
			return nil
		}
		if k := classify(err); k != classRetry && k != classBusy {
			return fmt.Errorf("%s: %w", op, err)
		}
		c.metrics.retry(op, err)
		slow.complain("a request is tried again and again", "operation", op, "err", err)
		if !b.wait(ctx, err) {
			return fmt.Errorf("%s: %w; last error: %w", op, context.Cause(ctx), err)
		}
	}
}

// coordinator says which broker coordinates a group (kind 0) or a transactional id (kind 1).
func (c *Client) coordinator(ctx context.Context, kind int8, key string) (int32, error) {
	k := coordinatorKey{kind, key}
	c.mu.Lock()
	node, ok := c.coordinators[k]
	c.mu.Unlock()
	if ok {
		return node, nil
	}
	res, err := call[*findcoordinator.Response](ctx, c, requestTimeout, &findcoordinator.Request{Key: key, KeyType: kind})
	if err == nil {
		err = codeError(res.ErrorCode)
	}
	if err != nil {
		return 0, fmt.Errorf("find coordinator of %s: %w", key, err)
	}
	c.mu.Lock()
	c.coordinators[k] = res.NodeID
	c.mu.Unlock()
	return res.NodeID, nil
}

// atCoordinator calls f with the coordinator's id and forgets the coordinator if f's error may mean that it has moved.
func (c *Client) atCoordinator(ctx context.Context, kind int8, key string, f func(node int32) error) error {
	node, err := c.coordinator(ctx, kind, key)
	if err != nil {
		return err
	}
	err = f(node)
	var code kafka.Error
	if err != nil && (!errors.As(err, &code) || code == 14 || code == 15 || code == 16 || code == 8) {
		c.mu.Lock()
		delete(c.coordinators, coordinatorKey{kind, key})
		c.mu.Unlock()
	}
	return err
}

// Ping checks that the cluster can be reached with this configuration and serves what the package needs. Its error says what to do.
func (c *Client) Ping(ctx context.Context) error {
	var b backoff
	for try := 1; ; try++ {
		err := c.ping(ctx)
		if err == nil {
			return nil
		}
		if try == 3 || classify(err) == classFatal || !b.wait(ctx, err) {
			return fmt.Errorf("kafka at %v: %w", c.cfg.Brokers, explain(err, c.cfg))
		}
	}
}

func (c *Client) ping(ctx context.Context) error {
	res, err := call[*apiversions.Response](ctx, c, requestTimeout, &apiversions.Request{})
	if err == nil {
		err = codeError(res.ErrorCode)
	}
	if err == nil {
		err = checkVersions(res.ApiKeys)
	}
	if err == nil {
		_, err = call[*metadataResult](ctx, c, requestTimeout, &metadataCall{topics: []string{}})
	}
	return err
}

// checkVersions makes sure that a broker serves what this package sends. The transport does not: it sends its own version where there is none in common,
// and the broker closes the connection.
func checkVersions(served []apiversions.ApiKeyResponse) error {
	needed := map[protocol.ApiKey]int16{protocol.Produce: 8, protocol.Metadata: 8}
	for _, key := range []protocol.ApiKey{
		protocol.Fetch, protocol.ListOffsets, protocol.OffsetFetch, protocol.Heartbeat, protocol.CreateTopics, protocol.InitProducerId,
		protocol.AddPartitionsToTxn, protocol.AddOffsetsToTxn, protocol.TxnOffsetCommit, protocol.EndTxn,
	} {
		needed[key] = key.MinVersion() // each is registered in one version
	}
	for _, s := range served {
		key := protocol.ApiKey(s.ApiKey)
		want, ok := needed[key]
		delete(needed, key)
		switch {
		case ok && s.MaxVersion < want:
			return tooOld(fmt.Sprintf("%s up to version %d, and version %d is needed", key, s.MaxVersion, want))
		case ok && s.MinVersion > want:
			return permanentError{fmt.Errorf("the broker is too new for this build: it serves %s from version %d on, and version %d is needed: install a newer build",
				key, s.MinVersion, want)}
		}
	}
	for key := range needed {
		return tooOld(fmt.Sprintf("no %s", key))
	}
	return nil
}

func tooOld(serves string) error {
	return permanentError{fmt.Errorf("the broker is too old: it serves %s: Apache Kafka 2.8 or later is needed", serves)}
}

// explain adds to a connection error what it usually means.
func explain(err error, cfg ClientConfig) error {
	var code kafka.Error
	var netErr *net.OpError
	switch {
	case errors.As(err, &code) && code == kafka.SASLAuthenticationFailed:
		return fmt.Errorf("the broker refuses the user name or password, or does not offer SASL mechanism %s to this user: %w", mechanism(cfg), err)
	case errors.As(err, &code) && code == kafka.UnsupportedSASLMechanism:
		return fmt.Errorf("the broker does not offer SASL mechanism %s: %w", mechanism(cfg), err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("the broker closed the connection: it expects TLS (configured: %t) or SASL (configured: %s), or refuses the "+
			"credentials: %w", cfg.TLS != nil, mechanism(cfg), err)
	case errors.Is(err, errAnswer):
		return fmt.Errorf("what listens there does not speak Kafka's protocol, or is broken: check host and port: %w", err)
	case isTLS(err):
		return fmt.Errorf("TLS handshake: check the CA file, the host names in the broker's certificate, and that the port speaks TLS: %w", err)
	case errors.As(err, &netErr) && netErr.Op == "dial":
		return fmt.Errorf("nobody listens there, or a firewall is between: %w", err)
	}
	return err
}

func isTLS(err error) bool {
	var verify *tls.CertificateVerificationError
	var header tls.RecordHeaderError
	var alert tls.AlertError
	return errors.As(err, &verify) || errors.As(err, &header) || errors.As(err, &alert)
}

func mechanism(cfg ClientConfig) string {
	if cfg.SASL == nil {
		return "none"
	}
	return cfg.SASL.Name()
}
