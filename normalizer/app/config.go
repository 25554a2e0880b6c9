// Package app wires the normalizer: raw topics in, events and dead letters out.
package app

import (
	"errors"
	"fmt"
	"os"

	"millrace/internal/conf"
	"millrace/internal/service"
	"millrace/pkg/wire"
)

// adminPort is where the normalizer's metrics are by default.
const adminPort = 9102

// Config is the normalizer's configuration and the operator's reference to it.
type Config struct {
	Service service.Config `koanf:",squash"`
	Kafka   wire.Kafka     `koanf:"kafka" help:"The cluster and its topics. The same section in all binaries of a deployment."`
	Seen    SeenConfig     `koanf:"seen" help:"The memory by which repeats are found."`
	DLP     DLPConfig      `koanf:"dlp" help:"Records of DLP.All, which hold the text that a rule matched."`
	Events  EventsConfig   `koanf:"events" help:"What is on an event."`
	Batch   BatchConfig    `koanf:"batch" help:"How much goes into one transaction of one partition number."`
}

// SeenConfig bounds the memory for repeats.
type SeenConfig struct {
	Memory   conf.Size `koanf:"memory" help:"How much memory this process may use to remember what was published: at most 24 bytes for each record of the last kafka.topics.seen_horizon (15 days: 100 records a second take 3 GiB, over all replicas). When it is full the oldest go to seen.cache_dir, or without one the process stops and says so; it never forgets early, since that would publish repeats."`
	CacheDir string    `koanf:"cache_dir" help:"Folder on a local disk for what seen.memory has no room for: memory-mapped files of 18 bytes a record. They are a cache without names: nothing is left of them when the process ends, and nothing has to be kept. Empty: stop when seen.memory is full."`
}

// DLPConfig says what of a match is shown.
type DLPConfig struct {
	Content string `koanf:"content" help:"masked: the text that a rule matched is replaced on events, its type, count and length stay. clear: it is on the events of the dlp topic. It never is on another topic."`
}

// EventsConfig says what is on an event.
type EventsConfig struct {
	RawData bool `koanf:"raw_data" help:"Put the vendor's record on the event as raw_data too; about doubles its size. With DLP content only if dlp.content is clear."`
}

// BatchConfig bounds a transaction.
type BatchConfig struct {
	Records int       `koanf:"records" help:"Most records in one transaction."`
	Bytes   conf.Size `koanf:"bytes" help:"Most bytes of records in one transaction, before compression."`
}

// DefaultConfig is what a deployment gets that says nothing.
func DefaultConfig() Config {
	return Config{
		Service: service.DefaultConfig(adminPort),
		Kafka:   wire.DefaultKafka(),
		Seen:    SeenConfig{Memory: conf.GiB},
		DLP:     DLPConfig{Content: "masked"},
		Batch:   BatchConfig{Records: 4000, Bytes: 4 * conf.MiB},
	}
}

// Validate judges the whole configuration.
func (c Config) Validate() error {
	if err := c.Kafka.Validate(); err != nil {
		return err
	}
	if c.Seen.Memory < conf.MiB {
		return fmt.Errorf("seen.memory: %s is too little: use 1MiB or more, 24 bytes for each record to remember", c.Seen.Memory)
	}
	if c.Seen.CacheDir != "" {
		if info, err := os.Stat(c.Seen.CacheDir); err != nil || !info.IsDir() {
			return fmt.Errorf("seen.cache_dir: %s is no folder: make it, or leave the key empty", c.Seen.CacheDir)
		}
	}
	if c.Batch.Records < 1 || c.Batch.Records > 100_000 {
		return fmt.Errorf("batch.records: %d: use 1 to 100000", c.Batch.Records)
	}
	if c.Batch.Bytes < 64*conf.KiB || c.Batch.Bytes > 256*conf.MiB {
		return fmt.Errorf("batch.bytes: %s: use 64KiB to 256MiB", c.Batch.Bytes)
	}
	return c.validateMapping()
}

// validateMapping is all that commands without a cluster need.
func (c Config) validateMapping() error {
	if c.DLP.Content != "masked" && c.DLP.Content != "clear" {
		// The value is not repeated with a remedy that guesses: clear is a decision.
		return errors.New("dlp.content: write masked or clear")
	}
	return nil
}
