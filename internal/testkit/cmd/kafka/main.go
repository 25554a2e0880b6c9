// Command kafka starts a real Apache Kafka from its jars, prints its address and stays until it is interrupted.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"millrace/internal/testkit"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "kafka:", err)
		stop()
		os.Exit(1)
	}
}

// run starts the cluster that args describe and keeps it until ctx ends.
func run(ctx context.Context, args []string) (err error) {
	flags := flag.NewFlagSet("kafka", flag.ContinueOnError)
	var cfg testkit.KafkaConfig
	flags.StringVar(&cfg.Version, "version", testkit.KafkaNewest, "version of Apache Kafka: "+testkit.KafkaNewest+" or "+testkit.KafkaOldest)
	flags.IntVar(&cfg.Nodes, "nodes", 1, "number of brokers: 1 or 3")
	flags.BoolVar(&cfg.ACL, "acl", false, "ask for SASL and authorize: "+testkit.AdminUser+" / "+testkit.AdminPassword+" may do everything, others nothing")
	addrFile := flags.String("addr-file", "", "also write the addresses to this file, once the cluster serves")
	fetch := flags.Bool("fetch", false, "only fetch the jars of all versions that the tests use")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	if *fetch {
		return testkit.FetchKafka(ctx, testkit.KafkaNewest, testkit.KafkaOldest)
	}
	dir, err := os.MkdirTemp("", "millrace-kafka-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	cluster, err := testkit.OpenKafka(ctx, dir, cfg)
	if err != nil {
		return err
	}
	defer cluster.Stop()
	brokers := strings.Join(cluster.Brokers, ",")
	if *addrFile != "" {
		if err := os.WriteFile(*addrFile, []byte(brokers+"\n"), 0o644); err != nil {
			return err
		}
	}
	if _, err := fmt.Fprintln(os.Stdout, brokers); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}
