package broker

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// intent is a commit that the broker has been asked for and has not answered yet. kfake carries it out in many writes: a marker for each partition, an entry
// for each offset, an entry for the producer. Whoever opens the folder after a kill in between needs to know that it was decided, and which offsets belong to
// it, because kfake keeps those in memory only.
type intent struct {
	Producer int64    `json:"producer"`
	Epoch    int16    `json:"epoch"`
	Offsets  []offset `json:"offsets,omitempty"`
}

// offset is one offset of a consumer group.
type offset struct {
	Group       string  `json:"group"`
	Topic       string  `json:"topic"`
	Partition   int32   `json:"partition"`
	Offset      int64   `json:"offset"`
	LeaderEpoch int32   `json:"leader_epoch"`
	Metadata    *string `json:"metadata,omitempty"`
}

// journal is a file with room for one intent, which is enough because kfake handles one request at a time. Only requests that kfake hands to watch touch it.
type journal struct {
	file    *os.File
	cluster *kfake.Cluster
	set     bool             // an intent is in the file
	staged  map[int64]intent // what each producer's open transaction would commit, by producer id
}

// openJournal makes the journal anew. What was in it is lost, so the folder must have been recovered before.
func openJournal(path string) (*journal, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	return &journal{file: f, staged: map[int64]intent{}}, nil
}

// readJournal returns the intent that is in the file, nil if none is. One that is not whole counts as none: kfake had not been asked yet.
func readJournal(path string) (*intent, error) {
	raw, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	frames, _ := readFrames(raw)
	if len(frames) == 0 {
		return nil, nil
	}
	var in intent
	if err := json.Unmarshal(frames[0], &in); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &in, nil
}

// watch has the journal see every request that matters before kfake handles it. A request that may begin another transaction, or change what a commit
// changes, arrives when the commit before it is done, so it clears the file.
func (j *journal) watch(c *kfake.Cluster) {
	j.cluster = c
	for _, key := range []kmsg.Key{
		kmsg.InitProducerID, kmsg.AddPartitionsToTxn, kmsg.AddOffsetsToTxn, kmsg.TxnOffsetCommit, kmsg.EndTxn,
		kmsg.OffsetCommit, kmsg.OffsetDelete, kmsg.DeleteGroups, kmsg.DeleteTopics,
	} {
		c.ControlKey(int16(key), func(req kmsg.Request) (kmsg.Response, error, bool) {
			if err := j.note(req); err != nil {
				c.KeepControl()
				return nil, fmt.Errorf("commit journal: %w", err), true // cuts the connection: the client does not know how it ended, and asks
			}
			return nil, nil, false
		})
	}
}

func (j *journal) note(req kmsg.Request) error {
	if err := j.clear(); err != nil {
		return err
	}
	switch req := req.(type) {
	case *kmsg.TxnOffsetCommitRequest:
		j.stage(req)
	case *kmsg.EndTxnRequest:
		in := j.staged[req.ProducerID]
		delete(j.staged, req.ProducerID)
		if !req.Commit {
			return nil
		}
		if in.Epoch != req.ProducerEpoch {
			in.Offsets = nil // of a transaction that was given up
		}
		return j.write(intent{Producer: req.ProducerID, Epoch: req.ProducerEpoch, Offsets: in.Offsets})
	}
	return nil
}

func (j *journal) stage(req *kmsg.TxnOffsetCommitRequest) {
	in := j.staged[req.ProducerID]
	if in.Epoch != req.ProducerEpoch {
		in.Offsets = nil
	}
	in.Producer, in.Epoch = req.ProducerID, req.ProducerEpoch
	for _, t := range req.Topics {
		name := t.Topic
		if req.Version >= 6 { // since then a topic is named by its id
			info := j.cluster.TopicIDInfo(t.TopicID)
			if info == nil {
				continue // refused
			}
			name = info.Topic
		}
		for _, p := range t.Partitions {
			o := offset{req.Group, name, p.Partition, p.Offset, p.LeaderEpoch, p.Metadata}
			same := func(x offset) bool { return x.Group == o.Group && x.Topic == o.Topic && x.Partition == o.Partition }
			if i := slices.IndexFunc(in.Offsets, same); i >= 0 {
				in.Offsets[i] = o
			} else {
				in.Offsets = append(in.Offsets, o)
			}
		}
	}
	j.staged[req.ProducerID] = in
}

func (j *journal) write(in intent) error {
	text, err := json.Marshal(in)
	if err != nil {
		return err
	}
	j.set = true
	_, err = j.file.WriteAt(frame(text), 0)
	return err
}

func (j *journal) clear() error {
	if !j.set {
		return nil
	}
	if err := j.file.Truncate(0); err != nil {
		return err
	}
	j.set = false
	return nil
}
