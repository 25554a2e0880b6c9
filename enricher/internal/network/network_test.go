package network

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"millrace/enricher/internal/network/mmdbtest"
)

func prefixes(t testing.TB, list ...string) []netip.Prefix {
	t.Helper()
	var out []netip.Prefix
	for _, s := range list {
		p, err := ParsePrefix(s)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, p)
	}
	return out
}

func TestTableLookup(t *testing.T) {
	t.Parallel()
	table, err := NewTable([]Range{
		{Name: "head office", Prefixes: prefixes(t, "203.0.113.0/25", "2001:db8:1::/48"), Category: Corporate, Tags: []string{"HQ", "Tor exit nodes"}},
		{Name: "branch", Prefixes: prefixes(t, "203.0.113.128/25"), Tags: []string{"Branch"}},
		{Name: "gate", Prefixes: prefixes(t, "198.51.100.7"), Category: VPN},
	}, []Feed{
		{Tag: "Zscaler", Category: Other, Prefixes: prefixes(t, "203.0.113.128/26", "203.0.113.128/27", "198.51.100.0/24")},
		{Tag: "Tor exit nodes", Category: Risky, Prefixes: prefixes(t, "203.0.113.5", "203.0.113.200", "203.0.113.130")},
	})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		addr     string
		name     string
		category Category
		tags     []string
	}{
		{"203.0.113.5", "head office", Corporate, []string{"HQ", "Tor exit nodes"}}, // an operator's Corporate beats a feed's Risky
		{"203.0.113.0", "head office", Corporate, []string{"HQ", "Tor exit nodes"}},
		{"203.0.113.127", "head office", Corporate, []string{"HQ", "Tor exit nodes"}},
		{"203.0.113.128", "branch", Other, []string{"Branch", "Zscaler"}}, // no category of its own: the feed's
		{"203.0.113.130", "branch", Risky, []string{"Branch", "Zscaler", "Tor exit nodes"}},
		{"203.0.113.192", "branch", Uncategorized, []string{"Branch"}},
		{"203.0.113.200", "branch", Risky, []string{"Branch", "Tor exit nodes"}},
		{"203.0.114.0", "", Uncategorized, nil},
		{"198.51.100.7", "gate", VPN, []string{"Zscaler"}},
		{"198.51.100.8", "", Other, []string{"Zscaler"}},
		{"::ffff:198.51.100.8", "", Other, []string{"Zscaler"}},
		{"2001:db8:1::1", "head office", Corporate, []string{"HQ", "Tor exit nodes"}},
		{"2001:db8:1:ffff:ffff:ffff:ffff:ffff", "head office", Corporate, []string{"HQ", "Tor exit nodes"}},
		{"2001:db8:2::", "", Uncategorized, nil},
	}
	for _, tt := range tests {
		m := table.Lookup(netip.MustParseAddr(tt.addr))
		name := ""
		if m.Range != nil {
			name = m.Range.Name
		}
		if name != tt.name || m.Category() != tt.category {
			t.Errorf("%s: got %q %v, want %q %v", tt.addr, name, m.Category(), tt.name, tt.category)
		}
		if diff := cmp.Diff(tt.tags, m.AppendTags(nil)); diff != "" {
			t.Errorf("%s: tags (-want +got):\n%s", tt.addr, diff)
		}
	}
	if m := table.Lookup(netip.Addr{}); m.Found() {
		t.Error("the zero address was found")
	}
	if m := (*Table)(nil).Lookup(netip.MustParseAddr("203.0.113.5")); m.Found() {
		t.Error("a nil table found something")
	}
}

func TestTableRefusesOverlap(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		a, b string
		ok   bool
	}{
		{"nested", "10.0.0.0/8", "10.1.0.0/16", false},
		{"same", "10.0.0.0/8", "10.0.0.0/8", false},
		{"nested v6", "2001:db8::/32", "2001:db8:5::/48", false},
		{"adjacent", "10.0.0.0/9", "10.128.0.0/9", true},
		{"families do not meet", "0.0.0.0/0", "::/0", true},
	}
	for _, tt := range tests {
		_, err := NewTable([]Range{{Name: "one", Prefixes: prefixes(t, tt.b)}, {Name: "two", Prefixes: prefixes(t, tt.a)}}, nil)
		if (err == nil) != tt.ok {
			t.Errorf("%s: err = %v, want ok = %v", tt.name, err, tt.ok)
		}
		if err != nil && (!strings.Contains(err.Error(), `"one"`) || !strings.Contains(err.Error(), `"two"`)) {
			t.Errorf("%s: %v does not name both ranges", tt.name, err)
		}
	}
}

func TestVersionFollowsContent(t *testing.T) {
	t.Parallel()
	build := func(name string) string {
		table, err := NewTable([]Range{{Name: name, Prefixes: prefixes(t, "10.0.0.0/8")}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return table.Version()
	}
	if one, again, other := build("a"), build("a"), build("b"); one != again || one == other {
		t.Error("the version must follow the content")
	}
	if empty, err := NewTable(nil, nil); err != nil || empty.Version() != "" {
		t.Errorf("empty table: version %q, err %v", empty.Version(), err)
	}
}

func TestParsePrefix(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "10", "10.0.0.0/33", "10.0.0.1/8", "::ffff:10.0.0.0/104", "fe80::1%eth0", "fe80::1%eth0/64", "host", "10.0.0.0/-1"} {
		if p, err := ParsePrefix(s); err == nil {
			t.Errorf("%q: got %v, want an error", s, p)
		}
	}
	for s, want := range map[string]string{
		" 10.0.0.0/8 ": "10.0.0.0/8", "203.0.113.9": "203.0.113.9/32", "::ffff:203.0.113.9": "203.0.113.9/32", "2001:DB8::/32": "2001:db8::/32", "::1": "::1/128",
	} {
		if p, err := ParsePrefix(s); err != nil || p.String() != want {
			t.Errorf("%q: got %v, %v, want %s", s, p, err, want)
		}
	}
}

func TestReadPrefixes(t *testing.T) {
	t.Parallel()
	got, err := ReadPrefixes(strings.NewReader("# list\n203.0.113.1\n\n 198.51.100.0/24 # note\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("[203.0.113.1/32 198.51.100.0/24]", stringsOf(got)); diff != "" {
		t.Error(diff)
	}
	if _, err := ReadPrefixes(strings.NewReader("203.0.113.1\n<html>")); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("err = %v, want it to name line 2", err)
	}
	if _, err := ReadPrefixes(strings.NewReader(strings.Repeat("203.0.113.1\n", MaxFeedPrefixes+1))); !errors.Is(err, ErrFeedTooLarge) {
		t.Errorf("err = %v, want ErrFeedTooLarge", err)
	}
	if _, err := ReadPrefixes(strings.NewReader(strings.Repeat("x", 1<<20))); err == nil {
		t.Error("a line of 1 MiB was accepted")
	}
}

func stringsOf(list []netip.Prefix) string {
	var out []string
	for _, p := range list {
		out = append(out, p.String())
	}
	return "[" + strings.Join(out, " ") + "]"
}

func TestParseCategory(t *testing.T) {
	t.Parallel()
	for c := Corporate; c <= Other; c++ {
		if got, err := ParseCategory(strings.ToUpper(c.String())); err != nil || got != c {
			t.Errorf("%v: got %v, %v", c, got, err)
		}
	}
	if _, err := ParseCategory(""); err == nil {
		t.Error("an empty category was accepted")
	}
	if s := Category(77).String(); s != "" {
		t.Errorf("Category(77) = %q", s)
	}
}

func TestLocatable(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]bool{
		"10.1.2.3": false, "172.16.0.1": false, "192.168.1.1": false, "100.64.0.1": false, "127.0.0.1": false, "169.254.1.1": false,
		"224.0.0.1": false, "255.255.255.255": false, "0.0.0.0": false, "198.18.0.1": false, "::1": false, "fe80::1": false, "fc00::1": false,
		"ff02::1": false, "::ffff:10.0.0.1": false, "::": false,
		"203.0.113.1": true, "2001:db8::1": true, "100.128.0.1": true, "::ffff:203.0.113.1": true,
	} {
		if got := Locatable(netip.MustParseAddr(s)); got != want {
			t.Errorf("%s: got %v, want %v", s, got, want)
		}
	}
	if Locatable(netip.Addr{}) {
		t.Error("the zero address is locatable")
	}
}

// memoryFile is a File whose content a test replaces.
type memoryFile struct {
	mu    sync.Mutex // guards the rest
	stamp string
	data  []byte
	err   error
}

func (f *memoryFile) set(stamp string, data []byte, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stamp, f.data, f.err = stamp, data, err
}

func (f *memoryFile) Name() string { return "memory" }

func (f *memoryFile) Stamp() (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.stamp, f.err
}

func (f *memoryFile) Read() ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]byte(nil), f.data...), f.err
}

func TestDatabases(t *testing.T) {
	t.Parallel()
	obj := mmdbtest.Object
	place := obj("country", obj("iso_code", "NL"), "city", obj("names", obj("en", "Utrecht")),
		"subdivisions", []any{obj("iso_code", "UT")}, "location", obj("latitude", 52.09, "longitude", 5.12))
	located := &memoryFile{stamp: "1", data: mmdbtest.Build(t, "Test-City", 7, map[string]any{"203.0.113.0/24": place, "10.0.0.0/8": place})}
	operator := &memoryFile{stamp: "1", data: mmdbtest.Build(t, "Test-ASN", 8, map[string]any{
		"203.0.113.0/25":  obj("autonomous_system_number", uint32(64500), "autonomous_system_organization", "Example Networks"),
		"198.51.100.0/24": obj("autonomous_system_number", "no number"),
	})}
	w, err := NewWatcher(Sources{Location: located, Operator: operator})
	if err != nil {
		t.Fatal(err)
	}
	db := w.State().Places
	if got, want := db.Version(), "Test-City@7+Test-ASN@8"; got != want {
		t.Errorf("version %q, want %q", got, want)
	}
	want := Place{Location: Location{Country: "NL", Region: "NL-UT", City: "Utrecht", Latitude: 52.09, Longitude: 5.12, Precise: true}, Number: 64500, Operator: "Example Networks"}
	for _, s := range []string{"203.0.113.9", "::ffff:203.0.113.9"} {
		if diff := cmp.Diff(want, db.Lookup(netip.MustParseAddr(s))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", s, diff)
		}
	}
	for _, s := range []string{"10.0.0.1", "198.51.100.1", "2001:db8::1", "192.0.2.1"} {
		if p := db.Lookup(netip.MustParseAddr(s)); p.Found() {
			t.Errorf("%s: got %+v, want nothing", s, p)
		}
	}
	if none := (Databases{}); none.Version() != "" || none.Lookup(netip.MustParseAddr("203.0.113.9")).Found() {
		t.Error("no databases must know nothing")
	}
}

func TestWatcherFollowsItsFiles(t *testing.T) {
	t.Parallel()
	country := func(epoch uint64, code string) []byte {
		return mmdbtest.Build(t, "Test-City", epoch, map[string]any{"203.0.113.0/24": mmdbtest.Object("country", mmdbtest.Object("iso_code", code))})
	}
	file := &memoryFile{stamp: "1", data: country(1, "NL")}
	feed := &memoryFile{stamp: "1", data: []byte("203.0.113.1\n")}
	w, err := NewWatcher(Sources{Location: file, Feeds: []FeedFile{{Tag: "Botnet", Category: Risky, File: feed}}})
	if err != nil {
		t.Fatal(err)
	}
	failures := 0
	refresh := func() State {
		w.refresh(slog.New(slog.DiscardHandler), func() { failures++ })
		return w.State()
	}
	before := refresh()
	if !before.Ranges.Lookup(netip.MustParseAddr("203.0.113.1")).Found() || failures != 0 {
		t.Error("the feed was not read")
	}
	file.set("2", []byte("no database"), nil)
	feed.set("2", []byte("<html>"), nil)
	if s := refresh(); s != before || failures != 2 {
		t.Errorf("after bad replacements: %+v, %d failures", s, failures)
	}
	if refresh(); failures != 2 {
		t.Error("one bad file is more than one warning")
	}
	file.set("3", country(2, "BE"), nil)
	feed.set("3", []byte("203.0.113.2\n"), nil)
	after := refresh()
	if after.Places.Version() != "Test-City@2" || after.Places.Lookup(netip.MustParseAddr("203.0.113.1")).Country != "BE" {
		t.Errorf("version %s", after.Places.Version())
	}
	if after.Ranges.Lookup(netip.MustParseAddr("203.0.113.1")).Found() || !after.Ranges.Lookup(netip.MustParseAddr("203.0.113.2")).Found() {
		t.Error("the new feed is not in use")
	}
	file.set("4", nil, errors.New("gone"))
	if s := refresh(); s != after || failures != 3 {
		t.Errorf("after the file went away: %+v, %d failures", s, failures)
	}
}

func TestWatcherRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		feed := &memoryFile{stamp: "1"}
		w, err := NewWatcher(Sources{Feeds: []FeedFile{{Tag: "Botnet", File: feed}}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); w.Run(ctx, time.Minute, slog.New(slog.DiscardHandler), func() {}) }()
		feed.set("2", []byte("203.0.113.1"), nil)
		time.Sleep(61 * time.Second)
		if !w.State().Ranges.Lookup(netip.MustParseAddr("203.0.113.1")).Found() {
			t.Error("the new feed is not in use")
		}
		cancel()
		<-done
	})
}

func TestNewWatcherRefuses(t *testing.T) {
	t.Parallel()
	gone := errors.New("gone")
	if _, err := NewWatcher(Sources{Location: &memoryFile{stamp: "1", data: []byte("no database")}}); err == nil {
		t.Error("a file that is no MMDB was accepted")
	}
	if _, err := NewWatcher(Sources{Operator: &memoryFile{err: gone}}); !errors.Is(err, gone) {
		t.Errorf("err = %v, want the cause", err)
	}
	if _, err := NewWatcher(Sources{Feeds: []FeedFile{{File: &memoryFile{stamp: "1", data: []byte("x")}}}}); err == nil {
		t.Error("a bad feed was accepted")
	}
	twice := Range{Name: "one", Prefixes: prefixes(t, "10.0.0.0/8")}
	if _, err := NewWatcher(Sources{Ranges: []Range{twice, twice}}); err == nil {
		t.Error("overlapping ranges were accepted")
	}
}

func FuzzOpenDatabase(f *testing.F) {
	f.Add(mmdbtest.Build(f, "Test-City", 1, map[string]any{"203.0.113.0/24": mmdbtest.Object("country", mmdbtest.Object("iso_code", "NL"))}), "203.0.113.1")
	f.Fuzz(func(_ *testing.T, data []byte, addr string) {
		db, err := OpenDatabase(data)
		a, aerr := netip.ParseAddr(addr)
		if err != nil || aerr != nil {
			return
		}
		p := Databases{Location: db, Operator: db}.Lookup(a)
		if p.Country != "" && !IsCountry(p.Country) {
			panic("a country that is none: " + p.Country)
		}
	})
}
