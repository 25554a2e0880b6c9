package mapping

import (
	"net/netip"
	"strconv"
	"strings"
)

// endpoint is what an address field says.
type endpoint struct {
	ip, hostname string
	port         int // -1 = none
}

// parseAddress reads the forms in which the vendor writes client addresses. What does not clearly have one of them gives false:
// it stays where it was.
func parseAddress(s string) (endpoint, bool) {
	s = strings.TrimSpace(s)
	if s == "" || len(s) > 300 {
		return endpoint{}, false
	}
	if ip, ok := canonicalIP(s); ok {
		return endpoint{ip: ip, port: -1}, true
	}
	if inner, ok := strings.CutPrefix(s, "["); ok {
		closing := strings.LastIndexByte(inner, ']')
		if closing < 0 {
			return endpoint{}, false
		}
		e, ok := parseHost(inner[:closing])
		return withPort(e, ok, inner[closing+1:])
	}
	if e, ok := parseHost(s); ok {
		return e, true
	}
	host, port, ok := cutLast(s, ':')
	if !ok || strings.IndexByte(host, ':') >= 0 {
		return endpoint{}, false
	}
	e, ok := parseHost(host)
	return withPort(e, ok, ":"+port)
}

func cutLast(s string, sep byte) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

func withPort(e endpoint, ok bool, rest string) (endpoint, bool) {
	if !ok || rest == "" {
		return e, ok
	}
	digits, ok := strings.CutPrefix(rest, ":")
	if !ok || digits == "" || len(digits) > 5 {
		return endpoint{}, false
	}
	for _, c := range []byte(digits) {
		if c < '0' || c > '9' {
			return endpoint{}, false
		}
	}
	port, err := strconv.Atoi(digits)
	if err != nil || port > 65535 {
		return endpoint{}, false
	}
	e.port = port
	return e, true
}

// parseHost reads an address, a name, or a name with an address in parentheses.
func parseHost(s string) (endpoint, bool) {
	if ip, ok := canonicalIP(s); ok {
		return endpoint{ip: ip, port: -1}, true
	}
	if name, rest, ok := strings.Cut(s, " ("); ok {
		ip, ok := canonicalIP(strings.TrimSuffix(rest, ")"))
		if !ok || !strings.HasSuffix(rest, ")") || !isHostname(name) {
			return endpoint{}, false
		}
		return endpoint{ip: ip, hostname: name, port: -1}, true
	}
	if isHostname(s) {
		return endpoint{hostname: s, port: -1}, true
	}
	return endpoint{}, false
}

// maxIP is the schema's bound for the type ip_t.
const maxIP = 40

// canonicalIP writes IPv6 compressed and in lower case, and an IPv4 address that is wrapped into IPv6 as IPv4.
func canonicalIP(s string) (string, bool) {
	if len(s) < 2 || len(s) > 64 {
		return "", false
	}
	if c := s[len(s)-1]; c == ')' || c == ']' { // cheap: the common case of not being an address makes an error
		return "", false
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return "", false
	}
	if a.Is4() {
		return s, true
	}
	text := a.Unmap().String()
	return text, len(text) <= maxIP
}

// isHostname accepts names of letters, digits, hyphens, underscores and dots that have a letter and cannot be taken for a broken
// address.
func isHostname(s string) bool {
	if s == "" || len(s) > 253 || isPlaceholder(s) {
		return false
	}
	letter := false
	for _, c := range []byte(s) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z':
			letter = true
		case c >= '0' && c <= '9', c == '-', c == '_', c == '.':
		default:
			return false
		}
	}
	return letter && s[0] != '.' && s[0] != '-'
}
