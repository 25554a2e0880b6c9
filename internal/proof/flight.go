package proof

import (
	"context"
	"encoding/binary"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/pkg/wire"
)

// InFlight says of each problem of a report whether a copy of its record, or of an event of it, lies in the last transaction that some
// incarnation of a producer wrote to a partition, which is where a killed process was. On the embedded broker such a transaction can
// be committed on some partitions and aborted on others, and what follows from that for the same record has that cause too; on Apache
// Kafka it cannot.
func InFlight(ctx context.Context, brokers []string, names wire.Names, r *Report) (map[Problem]bool, error) {
	f := &flights{wanted: map[string]bool{}, last: map[incarnation][]string{}, ended: map[incarnation]bool{}}
	for _, p := range r.Problems {
		f.wanted[p.ID] = true
	}
	topics := append(append(names.RawAll(), names.EventsAll()...), names.EnrichedAll()...)
	all, err := newReader(ctx, brokers, append(topics, names.DeadLetter(false), names.DeadLetter(true)))
	if err != nil {
		return nil, err
	}
	err = all.read(ctx, kgo.ReadUncommitted(), func(r *kgo.Record) error {
		f.record(r)
		return nil
	})
	if err != nil {
		return nil, err
	}
	inLast := map[string]bool{}
	for _, ids := range f.last {
		for _, id := range ids {
			inLast[id] = true
		}
	}
	explained := map[Problem]bool{}
	for _, p := range r.Problems {
		explained[p] = inLast[p.ID]
	}
	return explained, nil
}

// incarnation is one epoch of one producer on one partition.
type incarnation struct {
	topic     string
	partition int32
	producer  int64
	epoch     int16
}

type flights struct {
	wanted map[string]bool
	last   map[incarnation][]string // wanted records of the newest transaction met so far
	ended  map[incarnation]bool     // that transaction has its marker: the next record begins another
}

func (f *flights) record(r *kgo.Record) {
	inc := incarnation{r.Topic, r.Partition, r.ProducerID, r.ProducerEpoch}
	if r.Attrs.IsControl() {
		if len(r.Key) >= 4 && binary.BigEndian.Uint16(r.Key[2:]) <= 1 { // abort or commit
			f.ended[inc] = true
		}
		return
	}
	if f.ended[inc] {
		delete(f.last, inc)
		delete(f.ended, inc)
	}
	if id := recordID(r); f.wanted[id] {
		f.last[inc] = append(f.last[inc], id)
	}
}
