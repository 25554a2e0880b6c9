package tenant

import (
	"fmt"
	"slices"
	"time"
)

// Attack is one entry of the answer sheet: something hidden in the week that a detection should find.
type Attack struct {
	Name    string    `json:"name"`
	User    string    `json:"user"` // UPN of the account that falls
	IP      string    `json:"ip"`   // where the attacker sits
	Start   time.Time `json:"start"`
	Records []string  `json:"records"` // their Ids
}

type attack struct {
	name string
	slot int
	user int32
	ip   string
	at   int64 // Unix milliseconds of the first step
}

func (t *Tenant) planAttacks() {
	names := []string{"password spray", "mass download", "inbox rule exfiltration", "consent phishing"}
	r := rng(hash(t.cfg.Seed, saltAttack))
	for i, name := range names {
		a := attack{name: name, ip: fmt.Sprintf("198.18.%d.%d", r.n(200), 1+r.n(250))}
		for range 200 { // a slot with room, on day 2 to 6
			a.slot = t.weekSlots()/7 + r.n(t.weekSlots()*4/7)
			if _, _, count, _ := t.slot(a.slot); count >= 60 && !slices.ContainsFunc(t.attacks, func(o attack) bool { return o.slot == a.slot }) {
				break
			}
			a.slot = -1
		}
		for a.user = pick(&r, t.active); t.users[a.user].Service || t.users[a.user].Guest; {
			a.user = pick(&r, t.active)
		}
		if a.slot < 0 {
			continue // the tenant is too quiet to hide this one
		}
		start, length, _, _ := t.slot(a.slot)
		a.at = start.UnixMilli() + int64(r.n(int(length.Milliseconds()/4)+1))
		_ = i
		t.attacks = append(t.attacks, a)
	}
	slices.SortFunc(t.attacks, func(a, b attack) int { return a.slot - b.slot })
}

// attack plans the hidden attack of the slot, if it has one.
func (p *planner) attack() {
	i, ok := slices.BinarySearchFunc(p.t.attacks, int(p.slot), func(a attack, slot int) int { return a.slot - slot })
	if !ok {
		return
	}
	a := p.t.attacks[i]
	p.sess++
	room := p.count / 2
	switch a.name {
	case "password spray":
		for i := range min(room-1, 80) {
			p.add(a.at+int64(i)*1500, p.t.active[(i*7)%len(p.t.active)], kindSignInFailed, markAttack)
		}
		p.add(a.at+130_000, a.user, kindSignIn, markAttack)
	case "mass download":
		p.add(a.at, a.user, kindSignIn, markAttack)
		for i := range min(room-1, 250) {
			p.add(a.at+10_000+int64(i)*700, a.user, kindFileDownloaded, markAttack)
		}
	case "inbox rule exfiltration":
		p.add(a.at, a.user, kindSignIn, markAttack)
		p.add(a.at+30_000, a.user, kindInboxRule, markAttack)
		for i := range min(room-2, 25) {
			p.add(a.at+40_000+int64(i)*9000, a.user, kindMailAccessed, markAttack)
		}
	case "consent phishing":
		p.add(a.at, a.user, kindSignIn, markAttack)
		p.add(a.at+20_000, a.user, kindConsent, markAttack)
		for i := range min(room-2, 15) {
			p.add(a.at+60_000+int64(i)*5000, a.user, kindMailAccessed, markAttack)
		}
	}
}

func (t *Tenant) attackIP(s *spec) string {
	i, ok := slices.BinarySearchFunc(t.attacks, int(s.slot), func(a attack, slot int) int { return a.slot - slot })
	if !ok {
		return "198.18.0.1"
	}
	return t.attacks[i].ip
}

// Attacks returns the answer sheet.
func (t *Tenant) Attacks() []Attack {
	out := make([]Attack, 0, len(t.attacks))
	for _, a := range t.attacks {
		row := Attack{Name: a.name, User: t.users[a.user].UPN, IP: a.ip, Start: time.UnixMilli(a.at).UTC()}
		for _, s := range t.plan(a.slot, nil) {
			if s.marks&markAttack != 0 && s.marks&markNoID == 0 {
				row.Records = append(row.Records, newGUID(t.cfg.Seed, saltID, uint64(s.slot), uint64(s.seq)).String())
			}
		}
		out = append(out, row)
	}
	return out
}
