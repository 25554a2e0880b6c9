package kafkatx

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// counter is a Processor that passes each record on with the number of times that its key has come so far, which is all that its memory holds. Memory
// that was lost or doubled therefore shows in every later record of the key, as a number that comes twice or is left out.
type counter struct {
	out    string
	counts map[string]int
	loaded func() // called before the first batch, if set
	merge  func() // called before a change is merged, if set
}

func (h *counter) Load(r Record) error {
	return eachCount(string(r.Value), func(key string, n int) { h.counts[key] = n })
}

func (h *counter) Close() {}

func (h *counter) Process(_ context.Context, in []Record) (Result, error) {
	if h.loaded != nil {
		h.loaded()
	}
	c := &countChange{h: h, counts: map[string]int{}}
	var res Result
	for _, r := range in {
		key := string(r.Key)
		n, ok := c.counts[key]
		if !ok {
			n = h.counts[key]
		}
		c.counts[key] = n + 1
		res.Outputs = append(res.Outputs, Record{Topic: h.out, Partition: r.Partition, Key: r.Key, Value: strconv.AppendInt(nil, int64(n+1), 10)})
	}
	var state []byte
	for _, key := range slices.Sorted(maps.Keys(c.counts)) {
		state = fmt.Appendf(state, "%s %d\n", key, c.counts[key])
	}
	res.State, res.Change = []Record{{Value: state}}, c
	return res, nil
}

// eachCount reads a state record: a line for each key of a transaction.
func eachCount(state string, fn func(key string, n int)) error {
	for line := range strings.Lines(state) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		n, err := strconv.Atoi(value)
		if err != nil {
			return fmt.Errorf("state line %q: %w", line, err)
		}
		fn(key, n)
	}
	return nil
}

type countChange struct {
	h      *counter
	counts map[string]int
	ended  bool
}

func (c *countChange) Merge() {
	if c.h.merge != nil {
		c.h.merge()
	}
	c.Discard()
	maps.Copy(c.h.counts, c.counts)
}

func (c *countChange) Discard() {
	if c.ended {
		panic("change merged or discarded twice")
	}
	c.ended = true
}

// relay is a Processor that passes records on as they are.
type relay struct {
	out    string
	loaded func() // called before the first batch, if set
}

func (h *relay) Load(Record) error { return nil }
func (h *relay) Close()            {}

func (h *relay) Process(_ context.Context, in []Record) (Result, error) {
	if h.loaded != nil {
		h.loaded()
	}
	var res Result
	for _, r := range in {
		res.Outputs = append(res.Outputs, Record{Topic: h.out, Partition: r.Partition, Key: r.Key, Value: r.Value})
	}
	return res, nil
}

// judge is a reader of committed records, independent of this package.
type judge struct {
	name string
	read func(t testing.TB, brokers []string, topic string, fn func(key, value string))
}

// judges are franz-go, which every machine has that runs these tests, and librdkafka, which needs kcat.
func judges() []judge {
	return []judge{
		{"franz-go", func(t testing.TB, brokers []string, topic string, fn func(key, value string)) {
			for _, r := range witness(t, brokers, topic) {
				fn(string(r.Key), string(r.Value))
			}
		}},
		{"librdkafka", func(t testing.TB, brokers []string, topic string, fn func(key, value string)) {
			kcat(t, brokers, topic, "read_committed", fn)
		}},
	}
}

// kcat reads a topic to its end with kcat, that is with librdkafka, the client under those of Python, C++, .NET and others. Keys and values have to be
// without white space.
func kcat(t testing.TB, brokers []string, topic, isolation string, fn func(key, value string)) {
	t.Helper()
	cmd := exec.CommandContext(testContext(t), "kcat", "-C", "-q", "-e", "-b", strings.Join(brokers, ","), "-t", topic, "-o", "beginning",
		"-f", `%k %s\n`, "-X", "isolation.level="+isolation, "-X", "check.crcs=true")
	var complaints strings.Builder
	cmd.Stderr = &complaints
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatalf("kcat: %v (Debian's package kcat has it)", err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), " ")
		fn(key, value)
	}
	if err := cmd.Wait(); err != nil || lines.Err() != nil {
		t.Fatalf("kcat: %v, %v: %s", err, lines.Err(), complaints.String())
	}
}

// verdict is what a judge says about a topic that holds what a counter wrote.
type verdict struct {
	records int
	last    map[string]int // of each key, the largest number that came
	missing int            // numbers that were left out
	repeats int            // numbers that came again, as an aborted record would too: the one that replaced it has the same number
}

func (v *verdict) see(key string, n int) {
	v.records++
	last := v.last[key]
	if n <= last {
		v.repeats++
		return
	}
	v.missing += n - last - 1
	v.last[key] = n
}

// checkCounts compares, value by value and by each judge, the topics that counter and relay wrote with what was on their input topic, and the state topic
// with both. It returns the number of records that went in.
func checkCounts(t testing.TB, brokers []string, judges []judge) (records int) {
	t.Helper()
	var want map[string]int // of each key, how often it came in
	for _, j := range judges {
		in := map[string]int{}
		j.read(t, brokers, "in", func(key, _ string) { in[key]++ })
		if want == nil {
			want = in
		} else if !maps.Equal(want, in) {
			t.Errorf("%s and %s differ on topic in", judges[0].name, j.name)
		}
		for _, topic := range []string{"mid", "out"} {
			v := verdict{last: map[string]int{}}
			j.read(t, brokers, topic, func(key, value string) {
				n, err := strconv.Atoi(value)
				if err != nil {
					t.Errorf("%s: topic %s: value %q", j.name, topic, value)
				}
				v.see(key, n)
			})
			unexpected := 0
			for key, n := range v.last {
				unexpected += max(0, n-want[key])
			}
			for key, n := range want {
				v.missing += max(0, n-v.last[key])
			}
			t.Logf("%s: topic %s: %d records, %d missing, %d repeated, %d unexpected", j.name, topic, v.records, v.missing, v.repeats, unexpected)
			if v.missing+v.repeats+unexpected != 0 {
				t.Errorf("%s: topic %s is not what it has to be", j.name, topic)
			}
		}
	}
	state := map[string]int{}
	for _, r := range witness(t, brokers, "state") {
		if err := eachCount(string(r.Value), func(key string, n int) { state[key] = n }); err != nil {
			t.Error(err)
		}
	}
	if !maps.Equal(want, state) {
		t.Error("the state is not that of the records")
	}
	for _, n := range want {
		records += n
	}
	return records
}

// TestCheckCountsFinds makes sure that what the storms look for would be found.
func TestCheckCountsFinds(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name             string
		numbers          []int
		missing, repeats int
	}{
		{"all of them", []int{1, 2, 3}, 0, 0},
		{"a loss", []int{1, 3}, 1, 0},
		{"a repeat", []int{1, 2, 2, 3}, 0, 1},
		{"memory that was lost", []int{1, 2, 1, 2}, 0, 2},
		{"memory that was doubled", []int{1, 3, 5}, 2, 0},
		{"an aborted batch and the one that replaced it", []int{1, 2, 3, 2, 3}, 0, 2},
	} {
		v := verdict{last: map[string]int{}}
		for _, n := range tc.numbers {
			v.see("key", n)
		}
		if v.missing != tc.missing || v.repeats != tc.repeats {
			t.Errorf("%s: %d missing, %d repeated; want %d, %d", tc.name, v.missing, v.repeats, tc.missing, tc.repeats)
		}
	}
}
