package broker

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"time"
)

// recovery counts what was unfinished in a folder.
type recovery struct {
	committed, aborted int // markers written
}

// producer is what pids.log says of a transactional producer in the end.
type producer struct {
	id    int64
	epoch int16
}

// recoverFolder ends every transaction that is unfinished in kfake's folder, as Apache Kafka would: the one whose commit was decided is committed on all
// partitions with its offsets, all others are aborted, and their producers are fenced. It runs at every start before kfake opens the folder. It may be killed
// at any point: the next start finds less to do and comes to the same end.
//
// kfake on its own does this after a kill: it takes open transactions for aborted in memory and writes no marker. Producer ids are a hash of the transactional
// id, so the next owner goes on under the same one. Until its first marker, readers drop what it commits, because they take it for the rest of the aborted
// transaction; and at the start after the next kill, its marker commits what had been aborted.
func recoverFolder(dir string, commit *intent, now time.Time) (recovery, error) {
	known, err := knownFolder(dir)
	if err != nil || !known {
		return recovery{}, err
	}
	// Members, fetch sessions and open transactions of the time of a clean end. Whoever was there has gone.
	if err := removeIfThere(filepath.Join(dir, "session_state.json")); err != nil {
		return recovery{}, err
	}
	producers, err := readProducers(filepath.Join(dir, "pids.log"))
	if err != nil {
		return recovery{}, err
	}
	if _, err := readStateLog(filepath.Join(dir, "groups.log")); err != nil {
		return recovery{}, err
	}
	if commit != nil && !asks(producers, *commit) {
		commit = nil // kfake refused it, or had done it all
	}
	done, err := endTransactions(filepath.Join(dir, "partitions"), commit, now)
	if err != nil {
		return done, err
	}
	if commit != nil {
		if err := appendOffsets(filepath.Join(dir, "groups.log"), commit.Offsets, now); err != nil {
			return done, err
		}
	}
	return done, fence(filepath.Join(dir, "pids.log"), producers)
}

// knownFolder reports whether kfake has been in a folder, and refuses one of another version, whose files this package might misread.
func knownFolder(dir string) (bool, error) {
	raw, err := os.ReadFile(filepath.Join(dir, "meta.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	var meta struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(raw, &meta); err != nil {
		return false, fmt.Errorf("meta.json: %w", err)
	}
	if meta.Version != folderVersion {
		return false, fmt.Errorf("meta.json: version %d, not %d", meta.Version, folderVersion)
	}
	return true, nil
}

// pidEntry is an entry of pids.log.
type pidEntry struct {
	Type   string `json:"type"` // init, endtx, timeout
	PID    int64  `json:"pid"`
	Epoch  int16  `json:"epoch"`
	TxID   string `json:"txid,omitempty"`
	Commit *bool  `json:"commit,omitempty"`
}

// readProducers returns the transactional producers by transactional id.
func readProducers(path string) (map[string]producer, error) {
	entries, err := readStateLog(path)
	if err != nil {
		return nil, err
	}
	epochs := map[int64]int16{}
	ids := map[string]int64{}
	for _, raw := range entries {
		var e pidEntry
		if err := json.Unmarshal(raw, &e); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		epochs[e.PID] = e.Epoch
		if e.TxID != "" {
			ids[e.TxID] = e.PID
		}
	}
	producers := map[string]producer{}
	for txid, id := range ids {
		producers[txid] = producer{id, epochs[id]}
	}
	return producers, nil
}

// asks reports whether the producer that asked for a commit is the one that may: nobody has taken over its transactional id since.
func asks(producers map[string]producer, in intent) bool {
	for _, p := range producers {
		if p == (producer{in.Producer, in.Epoch}) {
			return true
		}
	}
	return false
}

// endTransactions writes the missing markers of all partitions.
func endTransactions(dir string, commit *intent, now time.Time) (recovery, error) {
	var done recovery
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return done, err
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		p, err := readPartition(filepath.Join(dir, e.Name()))
		if err != nil {
			return done, err
		}
		for id, epoch := range p.open {
			decided := commit != nil && id == commit.Producer && epoch == commit.Epoch
			if err := p.end(id, decided, now); err != nil {
				return done, err
			}
			if decided {
				done.committed++
			} else {
				done.aborted++
			}
		}
	}
	return done, nil
}

// groupEntry is an entry of groups.log that says where a group is.
type groupEntry struct {
	Type       string  `json:"type"` // commit
	Group      string  `json:"g"`
	Topic      string  `json:"t,omitempty"`
	Partition  int32   `json:"p,omitempty"`
	Offset     int64   `json:"o,omitempty"`
	Epoch      int32   `json:"e,omitempty"`
	Metadata   *string `json:"m,omitempty"`
	LastCommit int64   `json:"lc,omitempty"`
}

func appendOffsets(path string, offsets []offset, now time.Time) error {
	var raw []byte
	for _, o := range offsets {
		text, err := json.Marshal(groupEntry{"commit", o.Group, o.Topic, o.Partition, o.Offset, o.LeaderEpoch, o.Metadata, now.UnixMilli()})
		if err != nil {
			return err
		}
		raw = append(raw, frame(text)...)
	}
	return appendFile(path, raw)
}

// fence raises the epoch of every transactional producer, so that one that is still alive cannot take the end of its transaction for a commit: kfake answers
// a commit for which nothing is open with success if the last one was a commit.
func fence(path string, producers map[string]producer) error {
	var raw []byte
	for _, p := range producers {
		if p.epoch >= math.MaxInt16-1 {
			continue // kfake gives out another id next
		}
		text, err := json.Marshal(pidEntry{Type: "timeout", PID: p.id, Epoch: p.epoch + 1})
		if err != nil {
			return err
		}
		raw = append(raw, frame(text)...)
	}
	return appendFile(path, raw)
}
