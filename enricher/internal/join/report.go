package join

// Source is a kind of lookup, as metrics name it.
type Source int

// The lookups.
const (
	Actor Source = iota
	Target
	App
	Range
	Location
	Operator
	Agent
	sources
)

// String is the source's metric label.
func (s Source) String() string {
	return [...]string{"actor", "target", "app", "range", "location", "operator", "user_agent"}[s]
}

// Sources lists all lookups.
func Sources() [sources]Source {
	return [...]Source{Actor, Target, App, Range, Location, Operator, Agent}
}

// Outcome is what became of a lookup.
type Outcome uint8

// The outcomes. NotAsked is the zero value: the event had nothing to look up, or there is nothing to look it up in.
const (
	NotAsked   Outcome = iota
	Found              // the lookup knew
	Missing            // a complete lookup did not know
	Incomplete         // the directory had not been read whole and did not know
)

// String is the outcome's metric label.
func (o Outcome) String() string {
	return [...]string{"not_asked", "found", "missing", "incomplete"}[o]
}

// Outcomes lists the outcomes that are counted.
func Outcomes() []Outcome { return []Outcome{Found, Missing, Incomplete} }

// Counts adds up the reports of many events.
type Counts [sources][Incomplete + 1]int

// Add counts one event's report.
func (c *Counts) Add(r Report) {
	for s, o := range r {
		c[s][o]++
	}
}

// Report says what became of each lookup for one event.
type Report [sources]Outcome

// note keeps the better of several outcomes of one source.
func (o *Outcome) note(found, complete bool) {
	switch {
	case found:
		*o = Found
	case *o == Found:
	case complete:
		*o = Missing
	default:
		*o = Incomplete
	}
}
