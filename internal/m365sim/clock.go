package m365sim

import (
	"fmt"
	"time"
)

// maxSpeed keeps a day of the machine's time within what a time.Duration can hold.
const maxSpeed = 100_000

// clock is the time that the services live in: windows, expiry, quota, tokens and the tenant's life all follow it. It is the machine's
// clock, or one that runs Speed times as fast from an instant on that the journal keeps, so that it never steps, not even over a
// restart.
type clock struct {
	machine func() time.Time
	anchor  anchor
}

// anchor ties simulated time to the machine's.
type anchor struct {
	Machine time.Time `json:"machine"`
	Sim     time.Time `json:"sim"`
	Speed   float64   `json:"speed"`
}

// at returns the simulated time at an instant of the machine.
func (a anchor) at(machine time.Time) time.Time {
	if a.Speed == 0 {
		return machine.UTC()
	}
	return a.Sim.Add(time.Duration(float64(machine.Sub(a.Machine)) * a.Speed)).UTC()
}

func (c clock) now() time.Time { return c.anchor.at(c.machine()) }

// lastAnchor returns the anchor that events leave; the zero one is the machine's clock.
func lastAnchor(events []event) (last anchor) {
	for _, e := range events {
		if e.Kind == eventClock && e.Clock != nil {
			last = *e.Clock
		}
	}
	return last
}

// setClock continues the clock of the journal, at another speed from now on if the configuration has one.
func (s *Server) setClock(past []event) error {
	s.clock.machine, s.clock.anchor = s.cfg.Clock, lastAnchor(past)
	if old := s.clock.anchor.Speed; old == s.cfg.Speed || old == 0 && s.cfg.Speed == 1 {
		return nil
	}
	machine := s.cfg.Clock().UTC()
	next := anchor{Machine: machine, Sim: s.clock.anchor.at(machine), Speed: s.cfg.Speed}
	if err := s.journal.write(event{Kind: eventClock, At: next.Sim, Clock: &next}); err != nil {
		return fmt.Errorf("m365sim: keep the clock: %w", err)
	}
	s.clock.anchor = next
	return nil
}
