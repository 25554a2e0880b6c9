package wire

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"millrace/pkg/kafkatx"
)

// Kafka is the section of the configuration that every binary shares: how to reach the cluster and how the topics look. All
// binaries of one deployment must have the same prefix and counts.
type Kafka struct {
	Brokers           []string `koanf:"brokers" help:"bootstrap addresses, host:port"`
	Prefix            string   `koanf:"prefix" help:"starts every topic, group and transactional id; one per deployment"`
	Partitions        int      `koanf:"partitions" help:"partitions of the raw, events, enriched, deadletter and seen topics; for life"`
	ControlPartitions int      `koanf:"control_partitions" help:"partitions of the checkpoints, directory and ledger topics; for life"`
	Replication       int      `koanf:"replication" help:"replication factor of topics that are created; 0 = 3 or the number of brokers if less"`
	CombinedTopics    bool     `koanf:"combined_topics" help:"one events and one enriched topic instead of one per workload (DLP stays apart)"`
	Codec             string   `koanf:"codec" help:"compression of what is written: zstd, lz4, snappy, gzip or none"`
	Topics            Topics   `koanf:"topics"`
	Security          Security `koanf:"security"`

	SessionTimeout time.Duration `koanf:"session_timeout" help:"how long a replica may be silent until its numbers go to another one; the brokers allow 6s to 30m"`
}

// Topics says how topics are created. Retention applies to topics that are created; of existing ones differences are reported.
type Topics struct {
	Create              bool          `koanf:"create" help:"create missing topics; with false, -topics prints the commands for an administrator"`
	RawRetention        time.Duration `koanf:"raw_retention" help:"how long raw records are kept"`
	EventsRetention     time.Duration `koanf:"events_retention" help:"how long normalized events are kept"`
	EnrichedRetention   time.Duration `koanf:"enriched_retention" help:"how long enriched events are kept"`
	DeadLetterRetention time.Duration `koanf:"deadletter_retention" help:"how long dead letters are kept"`
	LedgerRetention     time.Duration `koanf:"ledger_retention" help:"how long the ledger is kept"`
	SeenHorizon         time.Duration `koanf:"seen_horizon" help:"how long after its blob's creation a record is still known as a repeat"`
}

// Security says how connections to the brokers are protected. Secrets are read from files, again for each new connection.
type Security struct {
	TLS          bool   `koanf:"tls" help:"connect with TLS"`
	CAFile       string `koanf:"ca_file" help:"PEM file of the authorities to trust; empty = the system's"`
	CertFile     string `koanf:"cert_file" help:"PEM file of the client certificate"`
	KeyFile      string `koanf:"key_file" help:"PEM file of the client certificate's key"`
	Mechanism    string `koanf:"sasl_mechanism" help:"PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER or empty for no SASL"`
	Username     string `koanf:"sasl_username" help:"SASL user name"`
	PasswordFile string `koanf:"sasl_password_file" help:"file with the SASL password"`
	TokenFile    string `koanf:"sasl_token_file" help:"file with the OAUTHBEARER token"`
}

const day = 24 * time.Hour

// DefaultKafka is what a deployment gets that says nothing.
func DefaultKafka() Kafka {
	return Kafka{
		Brokers:           []string{"127.0.0.1:9092"},
		Prefix:            "m365",
		Partitions:        12,
		ControlPartitions: 12,
		Codec:             "zstd",
		SessionTimeout:    10 * time.Second,
		Topics: Topics{
			Create:              true,
			RawRetention:        30 * day,
			EventsRetention:     14 * day,
			EnrichedRetention:   30 * day,
			DeadLetterRetention: 30 * day,
			LedgerRetention:     90 * day,
			SeenHorizon:         15 * day,
		},
	}
}

// prefixForm is what Kafka allows in names, without a dot, which would make the parts of a topic's name ambiguous.
var prefixForm = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`)

// Validate names the first key that is wrong and what it takes.
func (k Kafka) Validate() error {
	t := k.Topics
	switch {
	case len(k.Brokers) == 0:
		return errors.New("kafka.brokers: name at least one broker, host:port")
	case !prefixForm.MatchString(k.Prefix):
		return fmt.Errorf("kafka.prefix: %q: use 1 to 64 letters, digits, - and _", k.Prefix)
	case k.Partitions < 1 || k.Partitions > 1000:
		return fmt.Errorf("kafka.partitions: %d: use 1 to 1000", k.Partitions)
	case k.ControlPartitions < 1 || k.ControlPartitions > 1000:
		return fmt.Errorf("kafka.control_partitions: %d: use 1 to 1000", k.ControlPartitions)
	case k.Replication < 0:
		return fmt.Errorf("kafka.replication: %d: use 0 for the default or a positive number", k.Replication)
	case !slices.Contains([]string{"zstd", "lz4", "snappy", "gzip", "none"}, k.Codec):
		return fmt.Errorf("kafka.codec: %q: use zstd, lz4, snappy, gzip or none", k.Codec)
	case k.SessionTimeout < time.Second || k.SessionTimeout > 30*time.Minute:
		return fmt.Errorf("kafka.session_timeout: %s: use 1s to 30m", k.SessionTimeout)
	case min(t.RawRetention, t.EventsRetention, t.EnrichedRetention, t.DeadLetterRetention, t.LedgerRetention) < time.Hour:
		return errors.New("kafka.topics: a retention under 1h loses records before they are read; use 1h or more")
	case t.SeenHorizon < day:
		return fmt.Errorf("kafka.topics.seen_horizon: %s: use 24h or more", t.SeenHorizon)
	}
	return nil
}

// Names builds the topic names of this deployment.
func (k Kafka) Names() Names { return Names{Prefix: k.Prefix, Combined: k.CombinedTopics} }

// Client makes a client for a component of a binary. It opens no connection yet.
func (k Kafka) Client(component string, log *slog.Logger, reg prometheus.Registerer) (*kafkatx.Client, error) {
	cfg := kafkatx.ClientConfig{Brokers: k.Brokers, ClientID: "millrace-" + component, Logger: log, Registerer: reg}
	s := kafkatx.Security{
		TLS: k.Security.TLS, TLSCAFile: k.Security.CAFile, TLSCertFile: k.Security.CertFile, TLSKeyFile: k.Security.KeyFile,
		SASLMechanism: k.Security.Mechanism, Username: k.Security.Username,
		PasswordFile: k.Security.PasswordFile, TokenFile: k.Security.TokenFile,
	}
	if err := s.Apply(&cfg); err != nil {
		return nil, fmt.Errorf("kafka.security: %w", err)
	}
	return kafkatx.NewClient(cfg)
}

// StartBound is how long the cluster may take to answer while a program starts. A longer outage is left to whoever restarts it, with a
// line that says what was waited for.
const StartBound = 15 * time.Second

// Open makes a client for a stage, reaches the cluster within StartBound and makes sure that the stage's topics are as they should be:
// missing ones are created if that is allowed, settings that differ are logged and left alone. The caller closes the client.
func (k Kafka) Open(ctx context.Context, stage string, log *slog.Logger, reg prometheus.Registerer) (*kafkatx.Client, error) {
	client, err := k.Client(stage, log, reg)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, StartBound, fmt.Errorf("no answer within %s", StartBound))
	defer cancel()
	if err := client.Ping(ctx); err != nil {
		client.Close()
		return nil, fmt.Errorf("kafka.brokers: %w", err)
	}
	differences, err := client.EnsureTopics(ctx, k.Specs(stage), k.Topics.Create)
	if err != nil {
		client.Close()
		return nil, fmt.Errorf("topics: %w", err)
	}
	for _, d := range differences {
		log.Warn("a topic is not configured as it should be", "topic", d.Topic, "config", d.Config, "have", d.Have, "want", d.Want)
	}
	return client, nil
}
