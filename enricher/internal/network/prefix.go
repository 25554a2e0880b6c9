package network

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
)

// ParsePrefix reads a range in CIDR notation, or a single address, IPv4 or IPv6. Bits behind the prefix length are refused: they
// are a slip more often than not.
func ParsePrefix(s string) (netip.Prefix, error) {
	s = strings.TrimSpace(s)
	if !strings.Contains(s, "/") {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" {
			return netip.Prefix{}, fmt.Errorf("%q is neither an address nor a range such as 203.0.113.0/24 or 2001:db8::/32", s)
		}
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is not a range such as 203.0.113.0/24 or 2001:db8::/32", s)
	}
	if p.Addr().Is4In6() {
		return netip.Prefix{}, fmt.Errorf("range %q: write IPv4 ranges as IPv4", s)
	}
	if p != p.Masked() {
		return netip.Prefix{}, fmt.Errorf("range %q has bits behind its length: write %s", s, p.Masked())
	}
	return p, nil
}

// MaxFeedPrefixes bounds a feed, so that a wrong file cannot eat the memory.
const MaxFeedPrefixes = 200_000

// ErrFeedTooLarge is returned for a feed of more than MaxFeedPrefixes networks.
var ErrFeedTooLarge = errors.New("feed holds too many networks")

// ReadPrefixes reads a feed: one network or address a line; blank lines and what follows a # are ignored.
func ReadPrefixes(r io.Reader) ([]netip.Prefix, error) {
	var out []netip.Prefix
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		text, _, _ := strings.Cut(lines.Text(), "#")
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		p, err := ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if len(out) == MaxFeedPrefixes {
			return nil, fmt.Errorf("line %d: %w (%d allowed)", n, ErrFeedTooLarge, MaxFeedPrefixes)
		}
		out = append(out, p)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read feed: %w", err)
	}
	return out, nil
}

// unlocatable are networks that have no place on a map (RFC 6598, RFC 6890, RFC 5180, RFC 4193 by IsPrivate).
var unlocatable = [...]netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("fec0::/10"),
}

// Locatable reports whether an address can be looked up on a map. Private, shared, link-local, loopback and multicast
// addresses cannot: in audit records they belong to the service as often as to the user.
func Locatable(a netip.Addr) bool {
	a = a.Unmap()
	if !a.IsValid() || a.IsPrivate() || a.IsLoopback() || a.IsMulticast() || a.IsUnspecified() || a.IsLinkLocalUnicast() {
		return false
	}
	for _, p := range unlocatable {
		if p.Contains(a) {
			return false
		}
	}
	return true
}
