package seen

import "math"

// maxRuns is how many runs a set has before they become one: each costs a search for every record that is new.
const maxRuns = 8

// spill moves the older half of what is in memory, or all of it, to a run. What lies behind the floor is dropped on the way.
func (s *Set) spill(all bool) error {
	since := s.behindFloor()
	below, n := s.half(since)
	if all {
		below, n = math.MaxUint16+1, 0
		for i := range s.shards {
			n += s.shards[i].live(since)
		}
	}
	if n > 0 {
		w, err := newRunWriter(s.dir, n)
		if err != nil {
			return err
		}
		for i := range s.shards {
			sh := &s.shards[i]
			for j, id := range sh.ids {
				if id != 0 && sh.hours[j] >= since && int(sh.hours[j]) < below {
					w.add(id, sh.contents[j], sh.hours[j])
				}
			}
		}
		r, err := w.finish()
		if err != nil {
			return err
		}
		s.addRun(r)
	}
	// Everything below is on a run: it may leave memory.
	for i := range s.shards {
		old := s.shards[i].bytes()
		if below > math.MaxUint16 {
			s.shards[i] = shard{}
		} else {
			s.shards[i] = s.shards[i].rebuild(uint16(max(below, int(since))), s.batch.perShard[i])
		}
		s.budget.used.Add(s.shards[i].bytes() - old)
	}
	return s.tidyRuns()
}

// half finds the stamp below which at least half of the entries in memory lie that count since a stamp, and how many those are.
func (s *Set) half(since uint16) (below, n int) {
	perHour := make([]int, math.MaxUint16+1)
	total := 0
	for i := range s.shards {
		sh := &s.shards[i]
		for j, id := range sh.ids {
			if id != 0 && sh.hours[j] >= since {
				perHour[sh.hours[j]]++
				total++
			}
		}
	}
	for below < len(perHour) && 2*n < total {
		n += perHour[below]
		below++
	}
	return below, n
}

func (s *Set) addRun(r *run) {
	s.runs = append(s.runs, r)
	s.budget.spilled.Add(int64(len(r.data)))
}

func (s *Set) dropRun(r *run) error {
	s.budget.spilled.Add(-int64(len(r.data)))
	return r.close()
}

// tidyRuns drops the runs that lie behind the floor, and makes one run of too many.
func (s *Set) tidyRuns() error {
	since := s.behindFloor()
	kept := s.runs[:0]
	for _, r := range s.runs {
		if r.newest >= since {
			kept = append(kept, r)
		} else if err := s.dropRun(r); err != nil {
			return err
		}
	}
	s.runs = kept
	if len(s.runs) <= maxRuns {
		return nil
	}
	n := 0
	for _, r := range s.runs {
		for i := range r.n {
			if r.hour(i) >= since {
				n++
			}
		}
	}
	w, err := newRunWriter(s.dir, n)
	if err != nil {
		return err
	}
	merge(w, s.runs, since)
	one, err := w.finish()
	if err != nil {
		return err
	}
	for _, r := range s.runs {
		if err := s.dropRun(r); err != nil {
			return err
		}
	}
	s.runs = s.runs[:0]
	s.addRun(one)
	return nil
}

// merge writes the entries of runs stamped since or later, in order of their ids.
func merge(w *runWriter, runs []*run, since uint16) {
	at := make([]int, len(runs))
	for {
		least := -1
		for i, r := range runs {
			for at[i] < r.n && r.hour(at[i]) < since {
				at[i]++
			}
			if at[i] < r.n && (least < 0 || r.id(at[i]) < runs[least].id(at[least])) {
				least = i
			}
		}
		if least < 0 {
			return
		}
		r, i := runs[least], at[least]
		w.add(r.id(i), r.content(i), r.hour(i))
		at[least]++
	}
}
