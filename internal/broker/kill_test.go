package broker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

const txTopic = "transactional"

// producerVersions are the two ways in which clients end transactions: under the same epoch, and with a new one each time.
var producerVersions = map[string]*kversion.Versions{"one epoch": kversion.V3_6_0(), "an epoch a transaction": kversion.Stable()}

// begin takes over the transactional id and begins a transaction with one record on each partition.
func begin(t *testing.T, addr string, versions *kversion.Versions, value string) *kgo.Client {
	t.Helper()
	cl := newClient(t, addr, kgo.TransactionalID("stage.0"), kgo.MaxVersions(versions), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	for p := range int32(2) {
		produce(t, cl, &kgo.Record{Topic: txTopic, Partition: p, Value: []byte(value)})
	}
	return cl
}

func commit(t *testing.T, cl *kgo.Client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	if err := cl.EndTransaction(ctx, kgo.TryCommit); err != nil {
		t.Fatalf("commit: %v", err)
	}
}

// committed returns what a read_committed reader sees on both partitions, each in order. It writes a record of no transaction to know where to stop.
func committed(t *testing.T, addr string) [2][]string {
	t.Helper()
	stop := "stop " + strconv.FormatInt(time.Now().UnixNano(), 10)
	cl := newClient(t, addr, kgo.ConsumeTopics(txTopic), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for p := range int32(2) {
		produce(t, cl, &kgo.Record{Topic: txTopic, Partition: p, Value: []byte(stop)})
	}
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	var got [2][]string
	for stopped := 0; stopped < 2; {
		cl.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
			switch {
			case string(r.Value) == stop:
				stopped++
			case len(r.Value) > 5 && string(r.Value[:5]) == "stop ":
			default:
				got[r.Partition] = append(got[r.Partition], string(r.Value))
			}
		})
		if ctx.Err() != nil {
			t.Fatalf("read %q and no end", got)
		}
	}
	return got
}

// TestKillWithOpenTransaction kills the broker while a transaction is open, again and again. What was open is never seen, and what is committed later under the
// same transactional id is: at once and after each further kill.
func TestKillWithOpenTransaction(t *testing.T) {
	t.Parallel()
	for name, versions := range producerVersions {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			var want []string
			for round := range 3 {
				holder, addr := startHolder(t, dir)
				if round == 0 {
					createTopicOf(t, addr, 2)
				}
				cl := begin(t, addr, versions, fmt.Sprint("committed ", round))
				commit(t, cl)
				want = append(want, fmt.Sprint("committed ", round))
				if got := committed(t, addr); !cmp.Equal(got, [2][]string{want, want}) {
					t.Errorf("round %d: read %q, want %q on both", round, got, want)
				}
				begin(t, addr, versions, fmt.Sprint("open ", round))
				kill(t, holder)
			}
			b := openBroker(t, Config{Dir: dir})
			if got := committed(t, b.Addr()); !cmp.Equal(got, [2][]string{want, want}) {
				t.Errorf("at the end: read %q, want %q on both", got, want)
			}
		})
	}
}

func createTopicOf(t *testing.T, addr string, partitions int32) {
	t.Helper()
	if _, err := kadm.NewClient(newClient(t, addr)).CreateTopic(t.Context(), partitions, 1, nil, txTopic); err != nil {
		t.Fatal(err)
	}
}

// TestKillBetweenMarkers builds what a kill in the middle of a commit leaves: of what the commit appends to each file there may be nothing, half or all. From
// each of these the next start makes the whole transaction, offset included.
func TestKillBetweenMarkers(t *testing.T) {
	t.Parallel()
	for name, versions := range producerVersions {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before, after := commitFolders(t, versions)
			changed := changedFiles(t, before, after)
			if len(changed) != 5 { // two segments, their indexes, the log of groups
				t.Fatalf("a commit changes %q, want five files", changed)
			}
			dir := t.TempDir()
			copyFolder(t, before, dir)
			for mix := range 243 { // 3 to the power of 5
				copyFile(t, filepath.Join(after, "commit"), filepath.Join(dir, "commit"))
				copyFile(t, filepath.Join(before, "log", "pids.log"), filepath.Join(dir, "log", "pids.log"))
				for i, rest := 0, mix; i < len(changed); i, rest = i+1, rest/3 {
					appendShare(t, filepath.Join(before, changed[i]), filepath.Join(after, changed[i]), filepath.Join(dir, changed[i]), rest%3)
				}
				recoverTwice(t, dir)
				if got, want := outcome(t, dir), "transaction committed on 2 partitions, aborted on 0, offset 7"; got != want {
					t.Errorf("mix %d of %q: %s; want %s", mix, changed, got, want)
				}
			}
			b := openBroker(t, Config{Dir: dir})
			if got, want := committed(t, b.Addr()), ([2][]string{{"value"}, {"value"}}); !cmp.Equal(got, want) {
				t.Errorf("the broker serves %q, want %q", got, want)
			}
		})
	}
}

// TestKillBeforeCommit has no intent on file: the transaction is aborted on both partitions and its offset is not committed.
func TestKillBeforeCommit(t *testing.T) {
	t.Parallel()
	before, _ := commitFolders(t, kversion.V3_6_0())
	recoverTwice(t, before)
	if got, want := outcome(t, before), "transaction committed on 0 partitions, aborted on 2, no offset"; got != want {
		t.Errorf("%s; want %s", got, want)
	}
}

// TestStaleCommitIsNotCarriedOut has an intent of a producer that was fenced meanwhile.
func TestStaleCommitIsNotCarriedOut(t *testing.T) {
	t.Parallel()
	before, after := commitFolders(t, kversion.V3_6_0())
	copyFile(t, filepath.Join(after, "commit"), filepath.Join(before, "commit"))
	producers, err := readProducers(filepath.Join(before, "log", "pids.log"))
	if err != nil {
		t.Fatal(err)
	}
	if err := fence(filepath.Join(before, "log", "pids.log"), producers); err != nil {
		t.Fatal(err)
	}
	recoverTwice(t, before)
	if got, want := outcome(t, before), "transaction committed on 0 partitions, aborted on 2, no offset"; got != want {
		t.Errorf("%s; want %s", got, want)
	}
}

// commitFolders returns copies of a broker's folder from right before and right after a commit of one record on each of two partitions and an offset.
func commitFolders(t *testing.T, versions *kversion.Versions) (before, after string) {
	t.Helper()
	dir := t.TempDir()
	before, after = t.TempDir(), t.TempDir()
	b := openBroker(t, Config{Dir: dir})
	createTopicOf(t, b.Addr(), 2)
	cl := begin(t, b.Addr(), versions, "value")
	stageOffset(t, cl, 7)
	copyFolder(t, dir, before)
	commit(t, cl)
	copyFolder(t, dir, after)
	return before, after
}

// stageOffset adds an offset of a group to the open transaction.
func stageOffset(t *testing.T, cl *kgo.Client, at int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	id, epoch, err := cl.ProducerID(ctx)
	if err != nil {
		t.Fatal(err)
	}
	add := kmsg.NewPtrAddOffsetsToTxnRequest()
	add.TransactionalID, add.ProducerID, add.ProducerEpoch, add.Group = "stage.0", id, epoch, "group"
	if resp, err := add.RequestWith(ctx, cl); err != nil || resp.ErrorCode != 0 {
		t.Fatalf("add offsets: %v %+v", err, resp)
	}
	details, err := kadm.NewClient(cl).ListTopics(ctx, txTopic)
	if err != nil {
		t.Fatal(err)
	}
	p := kmsg.NewTxnOffsetCommitRequestTopicPartition()
	p.Offset = at
	topic := kmsg.NewTxnOffsetCommitRequestTopic()
	topic.Topic, topic.TopicID, topic.Partitions = txTopic, details[txTopic].ID, []kmsg.TxnOffsetCommitRequestTopicPartition{p}
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Group = "stage.0", id, epoch, "group"
	req.Topics = []kmsg.TxnOffsetCommitRequestTopic{topic}
	if resp, err := req.RequestWith(ctx, cl); err != nil || resp.Topics[0].Partitions[0].ErrorCode != 0 {
		t.Fatalf("stage offset: %v %+v", err, resp)
	}
}

// recoverTwice does what Open does before it starts kfake, and again, as after a kill at the end of the first.
func recoverTwice(t *testing.T, dir string) {
	t.Helper()
	for range 2 {
		decided, err := readJournal(filepath.Join(dir, "commit"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := recoverFolder(filepath.Join(dir, "log"), decided, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
}

// outcome reads the markers and the group's offset with Kafka's own decoder.
func outcome(t *testing.T, dir string) string {
	t.Helper()
	var ended [2]int // aborted, committed
	for p := range 2 {
		raw, err := os.ReadFile(filepath.Join(dir, "log", "partitions", txTopic+"-"+strconv.Itoa(p), "0.dat"))
		if err != nil {
			t.Fatal(err)
		}
		for len(raw) > 0 {
			var b kmsg.RecordBatch
			if err := b.ReadFrom(raw); err != nil {
				t.Fatal(err)
			}
			raw = raw[12+b.Length:]
			var r kmsg.Record
			if err := r.ReadFrom(b.Records); err != nil {
				t.Fatal(err)
			}
			if b.Attributes&controlBit != 0 {
				ended[r.Key[3]]++
			}
		}
	}
	entries, err := readStateLog(filepath.Join(dir, "log", "groups.log"))
	if err != nil {
		t.Fatal(err)
	}
	at := "no offset"
	for _, raw := range entries {
		var e groupEntry
		if err := json.Unmarshal(raw, &e); err != nil {
			t.Fatal(err)
		}
		if e.Type == "commit" && e.Group == "group" && e.Topic == txTopic && e.Partition == 0 {
			at = fmt.Sprint("offset ", e.Offset)
		}
	}
	return fmt.Sprintf("transaction committed on %d partitions, aborted on %d, %s", ended[1], ended[0], at)
}

// changedFiles names what differs between two copies of a folder, without the journal and without the log of producers, which is written when all else is done.
func changedFiles(t *testing.T, before, after string) []string {
	t.Helper()
	var changed []string
	err := filepath.WalkDir(after, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(after, path)
		if err != nil {
			return err
		}
		now, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		then, err := os.ReadFile(filepath.Join(before, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if !bytes.Equal(now, then) && name != "commit" && name != filepath.Join("log", "pids.log") {
			changed = append(changed, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return changed
}

// appendShare writes to path what the file was before, and nothing (0), half (1) or all (2) of what was added after.
func appendShare(t *testing.T, before, after, path string, share int) {
	t.Helper()
	then, err := os.ReadFile(before)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	now, err := os.ReadFile(after)
	if err != nil {
		t.Fatal(err)
	}
	added := now[len(then):]
	if err := os.WriteFile(path, now[:len(then)+len(added)*share/2], 0o600); err != nil {
		t.Fatal(err)
	}
}

func copyFolder(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	raw, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}
