package kafkatx_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kfake"

	"millrace/pkg/kafkatx"
)

// shout is a stage without a memory: it writes what it reads in capitals.
type shout struct{}

func (shout) Load(kafkatx.Record) error { return nil }
func (shout) Close()                    {}

func (shout) Process(_ context.Context, in []kafkatx.Record) (kafkatx.Result, error) {
	var res kafkatx.Result
	for _, r := range in {
		res.Outputs = append(res.Outputs, kafkatx.Record{Topic: "loud", Partition: r.Partition, Key: r.Key, Value: bytes.ToUpper(r.Value)})
	}
	return res, nil
}

// Example writes two records in a transaction, runs a stage over them, and reads its output.
func Example() {
	broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "quiet", "loud", "status"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer broker.Close()
	client, err := kafkatx.NewClient(kafkatx.ClientConfig{Brokers: broker.ListenAddrs()})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	producer, err := client.NewProducer(kafkatx.ProducerConfig{TransactionalID: "example"})
	if err != nil {
		fmt.Println(err)
		return
	}
	err = producer.Init(ctx)
	if err == nil {
		_, err = producer.Produce(ctx, []kafkatx.Record{{Topic: "quiet", Value: []byte("hello")}, {Topic: "quiet", Value: []byte("world")}})
	}
	if err == nil {
		err = producer.Commit(ctx)
	}
	if err != nil {
		fmt.Println(err)
		return
	}

	done := make(chan error, 1)
	go func() {
		done <- kafkatx.Run(ctx, client, kafkatx.StageConfig{
			Prefix: "example", Name: "shout", Inputs: []string{"quiet"}, StatusTopic: "status",
			New: func(int32) (kafkatx.Handler, error) { return shout{}, nil },
		})
	}()
	err = client.ReadRange(ctx, "loud", 0, 0, 2, func(r kafkatx.Record) error {
		fmt.Println(r.Offset, string(r.Value))
		return nil
	})
	cancel()
	if err := errors.Join(err, <-done); err != nil {
		fmt.Println(err)
	}
	// Output:
	// 0 HELLO
	// 1 WORLD
}

// ExamplePartition finds the partition that a Java producer would choose.
func ExamplePartition() {
	fmt.Println(kafkatx.Partition([]byte("alice@example.org"), 12))
	// Output: 7
}
