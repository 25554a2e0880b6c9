package tenant

import (
	"iter"
	"slices"
	"time"
)

// SignIn is a sign-in as the directory's own log has it. The audit feed carries the same one as a record of type 15, whose
// IntraSystemId is ID and whose InterSystemsId is CorrelationID.
type SignIn struct {
	ID            string
	CorrelationID string
	At            time.Time
	User          *User
	IP            string
	AppID         string
	AppName       string
	ClientApp     string // clientAppUsed
	Interactive   bool
	ErrorCode     int
	OS            string
	Browser       string
}

// SignIns walks the sign-ins of people with from <= At < to, the newest first.
func (t *Tenant) SignIns(from, to time.Time) iter.Seq[SignIn] {
	return func(yield func(SignIn) bool) {
		lo, hi := from.UnixMilli(), to.UnixMilli()
		var specs []spec
		var w writer
		w.t = t
		for i := t.slotAt(to); i >= 0; i-- {
			start, length, _, _ := t.slot(i)
			if start.Add(length).UnixMilli() <= lo {
				return
			}
			specs = slices.DeleteFunc(t.plan(i, specs[:0]), func(s spec) bool {
				return s.kind != kindSignIn && s.kind != kindSignInFailed || s.at < lo || s.at >= hi
			})
			slices.SortStableFunc(specs, func(a, b spec) int { return int(b.at - a.at) })
			for k := range specs {
				if !yield(w.signInOf(&specs[k])) {
					return
				}
			}
		}
	}
}

// slotAt returns the slot of a time; before the first slot it is -1.
func (t *Tenant) slotAt(at time.Time) int {
	end := t.weekStart().Add(time.Duration(t.weekSlots()) * t.slotLen)
	switch {
	case at.Before(t.weekStart()):
		return -1
	case at.Before(end):
		return int(at.Sub(t.weekStart()) / t.slotLen)
	case at.Before(t.cfg.Origin) || t.cfg.LiveRate < 0:
		return t.weekSlots() - 1
	}
	return t.weekSlots() + int(at.Sub(t.cfg.Origin)/liveSlot)
}

// clientApps are the programs that people sign in with; the legacy ones sign in without a person in front of the screen.
var clientApps = []struct {
	name        string
	interactive bool
}{
	{"Browser", true},
	{"Browser", true},
	{"Browser", true},
	{"Mobile Apps and Desktop clients", true},
	{"Mobile Apps and Desktop clients", false},
	{"Mobile Apps and Desktop clients", false},
	{"Exchange ActiveSync", false},
	{"IMAP4", true},
	{"", false},
}

func (w *writer) signInOf(s *spec) SignIn {
	w.s, w.u = s, &w.t.users[s.user]
	h := hash(w.t.cfg.Seed, saltSignIn, uint64(s.slot), uint64(s.seq))
	r := rng(h)
	client := pick(&r, clientApps)
	agent := w.agent()
	app := w.t.signInApp(s)
	out := SignIn{
		ID: w.t.signInID(s).String(), CorrelationID: w.sessionGUID().String(), At: time.UnixMilli(s.at).UTC(), User: w.u, IP: w.ip(),
		AppID: app.id, AppName: app.name, ClientApp: client.name, Interactive: client.interactive, OS: agent.os, Browser: agent.browser,
	}
	if s.kind == kindSignInFailed {
		out.ErrorCode = w.t.signInError(s).code
		out.Interactive, out.ClientApp = true, clientApps[0].name
	}
	return out
}

// What the feed and the directory's log say about one sign-in alike.

func (t *Tenant) signInID(s *spec) guid {
	return newGUID(t.cfg.Seed, saltSignIn, uint64(s.slot), uint64(s.seq))
}

func (t *Tenant) signInApp(s *spec) *app {
	return &t.apps[3+hash(t.cfg.Seed, saltSignIn, uint64(s.slot), uint64(s.seq), 1)%5]
}

func (t *Tenant) signInError(s *spec) *signInFailure {
	if s.marks&markAttack != 0 {
		return &signInErrors[0]
	}
	return &signInErrors[hash(t.cfg.Seed, saltSignIn, uint64(s.slot), uint64(s.seq), 2)%uint64(len(signInErrors))]
}
