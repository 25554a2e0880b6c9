// Package network says what is known about an IP address: the operator's ranges, built-in tag feeds, country and network operator.
package network

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"sort"
	"strings"
)

// Category is what a range is to the organization. The numbers are those of the vendor's IP range interface.
type Category int

// The categories. Uncategorized is the zero value: no range says anything about the address.
const (
	Uncategorized Category = iota
	Corporate
	Administrative
	Risky
	VPN
	CloudProvider
	Other
)

// categoryNames are the names that configuration and events use.
var categoryNames = [...]string{"", "Corporate", "Administrative", "Risky", "VPN", "Cloud provider", "Other"}

// String is the category's name, empty for Uncategorized.
func (c Category) String() string {
	if c < 0 || int(c) >= len(categoryNames) {
		return ""
	}
	return categoryNames[c]
}

// ParseCategory reads a category by its name, in any letter case.
func ParseCategory(s string) (Category, error) {
	for i, name := range categoryNames {
		if name != "" && strings.EqualFold(s, name) {
			return Category(i), nil
		}
	}
	return Uncategorized, fmt.Errorf("category %q is none of %s", s, strings.Join(categoryNames[1:], ", "))
}

// Location is where an address is. The zero value says nothing.
type Location struct {
	Country   string // ISO 3166-1 alpha-2, upper case
	Region    string
	City      string
	Latitude  float64
	Longitude float64
	Precise   bool // Latitude and Longitude are meant
}

// Known reports whether the location says enough to be written (OCSF wants a country, region or city).
func (l Location) Known() bool { return l.Country != "" || l.Region != "" || l.City != "" }

// Range is one of the operator's ranges. Tags and category are added to an event, organization and location replace what a
// database says about the address.
type Range struct {
	Name         string
	Prefixes     []netip.Prefix
	Category     Category
	Tags         []string
	Organization string
	Location     Location
}

// Feed is a built-in tag and the networks that carry it, such as the list of Tor exit nodes. Overlaps within a feed are harmless.
type Feed struct {
	Tag      string
	Category Category
	Prefixes []netip.Prefix
}

// Table answers which ranges and feeds an address is in. It is immutable and safe for concurrent use.
type Table struct {
	ranges  []Range
	custom  layer
	feeds   []feedLayer
	version string
}

type feedLayer struct {
	Feed
	layer
}

// Match is what the table says of one address: at most one of the operator's ranges, since they may not overlap, and any
// number of feeds.
type Match struct {
	Range *Range // nil = none
	Feeds []*Feed
}

// Found reports whether any range or feed holds the address.
func (m Match) Found() bool { return m.Range != nil || len(m.Feeds) > 0 }

// Category applies the precedence: the operator's range beats every feed; among feeds Risky beats the others, then the order
// of configuration decides.
func (m Match) Category() Category {
	if m.Range != nil && m.Range.Category != Uncategorized {
		return m.Range.Category
	}
	category := Uncategorized
	for _, f := range m.Feeds {
		if f.Category == Risky {
			return Risky
		}
		if category == Uncategorized {
			category = f.Category
		}
	}
	return category
}

// AppendTags appends the union of all tags to dst, the operator's first.
func (m Match) AppendTags(dst []string) []string {
	if m.Range != nil {
		dst = append(dst, m.Range.Tags...)
	}
	for _, f := range m.Feeds {
		if !slices.Contains(dst, f.Tag) {
			dst = append(dst, f.Tag)
		}
	}
	return dst
}

// NewTable checks and indexes ranges and feeds. Ranges that overlap are refused; a range and a feed may overlap.
func NewTable(ranges []Range, feeds []Feed) (*Table, error) {
	t := &Table{ranges: slices.Clone(ranges)}
	for i, r := range ranges {
		for _, p := range r.Prefixes {
			t.custom.add(p, i)
		}
	}
	if a, b, overlap := t.custom.index(); overlap {
		return nil, fmt.Errorf("ranges %q (%s–%s) and %q (%s–%s) overlap: an address may be in one range only",
			ranges[a.owner].Name, a.first, a.last, ranges[b.owner].Name, b.first, b.last)
	}
	for _, f := range feeds {
		fl := feedLayer{Feed: f}
		for _, p := range f.Prefixes {
			fl.add(p, 0)
		}
		fl.merge()
		t.feeds = append(t.feeds, fl)
	}
	t.version = version(ranges, feeds)
	return t, nil
}

// Version names the content of the table: equal tables have equal versions. It is empty for a table that holds nothing.
func (t *Table) Version() string { return t.version }

// Lookup finds what holds an address. A nil table holds nothing.
func (t *Table) Lookup(a netip.Addr) Match {
	var m Match
	if t == nil || !a.IsValid() {
		return m
	}
	a = a.Unmap().WithZone("")
	if i, ok := t.custom.find(a); ok {
		m.Range = &t.ranges[i]
	}
	for i := range t.feeds {
		if _, ok := t.feeds[i].find(a); ok {
			m.Feeds = append(m.Feeds, &t.feeds[i].Feed)
		}
	}
	return m
}

func version(ranges []Range, feeds []Feed) string {
	if len(ranges) == 0 && len(feeds) == 0 {
		return ""
	}
	h := sha256.New()
	for _, r := range ranges {
		_, _ = fmt.Fprintf(h, "range %q %q %d %q %q %+v\n", r.Name, r.Prefixes, r.Category, r.Tags, r.Organization, r.Location)
	}
	for _, f := range feeds {
		_, _ = fmt.Fprintf(h, "feed %q %d %q\n", f.Tag, f.Category, f.Prefixes)
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// layer is a set of address spans that do not overlap, sorted, so that a lookup is one binary search. IPv4 sorts before IPv6.
type layer []span

type span struct {
	first, last netip.Addr
	owner       int
}

func (l *layer) add(p netip.Prefix, owner int) {
	p = p.Masked()
	*l = append(*l, span{first: p.Addr(), last: lastOf(p), owner: owner})
}

// index sorts the spans and returns the first pair that overlaps.
func (l layer) index() (a, b span, overlap bool) {
	slices.SortFunc(l, func(x, y span) int { return x.first.Compare(y.first) })
	for i := 1; i < len(l); i++ {
		if l[i].first.Compare(l[i-1].last) <= 0 {
			return l[i-1], l[i], true
		}
	}
	return span{}, span{}, false
}

// merge sorts the spans and joins those that overlap. Prefixes either nest or are disjoint, so the outer one is enough.
func (l *layer) merge() {
	l.index()
	out := (*l)[:0]
	for _, s := range *l {
		if n := len(out); n > 0 && s.first.Compare(out[n-1].last) <= 0 {
			if out[n-1].last.Less(s.last) {
				out[n-1].last = s.last
			}
			continue
		}
		out = append(out, s)
	}
	*l = out
}

func (l layer) find(a netip.Addr) (owner int, ok bool) {
	i := sort.Search(len(l), func(i int) bool { return a.Less(l[i].first) })
	if i == 0 || l[i-1].last.Less(a) {
		return 0, false
	}
	return l[i-1].owner, true
}

func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}
