// Package useragent reads what the vendor's records say about the program at the other end: browser or native client, system, device.
package useragent

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Device is a kind of device, in the words of the product's activity filter.
type Device string

// The kinds of device. DeviceUnknown is what a text that names no device gives.
const (
	DeviceUnknown Device = ""
	Desktop       Device = "DESKTOP"
	Mobile        Device = "MOBILE"
	Tablet        Device = "TABLET"
	DeviceOther   Device = "OTHER"
)

// Agent is what a user agent text says. Empty members were not said.
type Agent struct {
	Client          string // name of the browser or native client
	Version         string
	System          string
	SystemVersion   string
	Device          Device
	Native          bool // a program other than a browser
	OutdatedBrowser bool
	OutdatedSystem  bool
}

// Known reports whether anything was recognized.
func (a Agent) Known() bool { return a.Client != "" || a.System != "" || a.Device != DeviceUnknown }

// Minimum is the oldest version that counts as current, by name of browser or system. What is not listed is never outdated.
type Minimum struct {
	Browsers map[string]int
	Systems  map[string]int
}

// DefaultMinimum is what the vendors of browsers and systems still cared for when this release was made.
func DefaultMinimum() Minimum {
	return Minimum{
		Browsers: map[string]int{
			"Microsoft Edge": 138, "Chrome": 138, "Firefox": 128, "Safari": 17, "Opera": 120, "Samsung Internet": 27, "Internet Explorer": 12,
		},
		Systems: map[string]int{"Windows": 10, "Windows Phone": 11, "macOS": 13, "iOS": 17, "iPadOS": 17, "Android": 12},
	}
}

// Parser reads user agent texts. It is immutable and safe for concurrent use.
type Parser struct {
	min     Minimum
	version string
}

// NewParser makes a parser that judges by the given versions.
func NewParser(oldest Minimum) *Parser {
	h := sha256.New()
	for _, m := range []map[string]int{oldest.Browsers, oldest.Systems} {
		for _, name := range slices.Sorted(maps.Keys(m)) {
			_, _ = fmt.Fprintf(h, "%q %d\n", name, m[name])
		}
		_, _ = fmt.Fprintln(h)
	}
	return &Parser{min: oldest, version: tableVersion + "-" + hex.EncodeToString(h.Sum(nil)[:4])}
}

// Version names the tables and the versions judged by.
func (p *Parser) Version() string { return p.version }

// maxText is how much of a text is read: what follows is decoration.
const maxText = 1024

// Parse reads a text. Any text is accepted; what is not recognized gives an empty Agent.
func (p *Parser) Parse(text string) Agent {
	text = text[:min(len(text), maxText)]
	var a Agent
	clientOf(text, &a)
	frozen := systemOf(text, &a)
	if oldest, ok := p.min.Browsers[a.Client]; ok && !a.Native {
		a.OutdatedBrowser = older(a.Version, oldest)
	}
	if oldest, ok := p.min.Systems[a.System]; ok && !frozen {
		a.OutdatedSystem = older(a.SystemVersion, oldest)
	}
	return a
}

// clientOf takes the first row of the table that occurs in the text: native clients stand before browsers, because their texts
// imitate the browser that they embed, and imitating browsers before imitated ones.
func clientOf(text string, a *Agent) {
	for _, c := range clients {
		i := strings.Index(text, c.token)
		if i < 0 {
			continue
		}
		a.Client, a.Native = c.name, c.native
		mark := c.token
		if c.version != "" {
			mark = c.version
			i = strings.Index(text, mark)
		}
		if i >= 0 {
			a.Version = versionAt(text[i+len(mark):])
		}
		return
	}
}

// systemOf takes the first row of the table that occurs in the text. frozen says that the version stands for all later ones too.
func systemOf(text string, a *Agent) (frozen bool) {
	for _, s := range systems {
		i := strings.Index(text, s.token)
		if i < 0 {
			continue
		}
		a.System, a.Device = s.name, s.device
		if s.versioned {
			a.SystemVersion = strings.ReplaceAll(versionAt(strings.TrimLeft(text[i+len(s.token):], " /:")), "_", ".")
		}
		switch s.name {
		case "Windows":
			a.SystemVersion = windowsRelease(a.SystemVersion)
			return a.SystemVersion == "10"
		case "macOS":
			// Browsers have said 10.15.7 ever since, whatever the release.
			return strings.HasPrefix(a.SystemVersion, "10.15") || strings.HasPrefix(a.SystemVersion, "10.16")
		case "Android":
			if !strings.Contains(text, "Mobile") && !a.Native {
				a.Device = Tablet
			}
		}
		return false
	}
	return false
}

// windowsRelease names the release of an NT version; 10.0 is Windows 10 and all that followed.
func windowsRelease(nt string) string {
	switch nt {
	case "10.0":
		return "10"
	case "6.3":
		return "8.1"
	case "6.2":
		return "8"
	case "6.1":
		return "7"
	case "6.0":
		return "Vista"
	case "5.1", "5.2":
		return "XP"
	default:
		return nt
	}
}

// versionAt reads digits, dots and underscores, at most 32 of them.
func versionAt(s string) string {
	n := 0
	for n < len(s) && n < 32 && (s[n] >= '0' && s[n] <= '9' || s[n] == '.' || s[n] == '_') {
		n++
	}
	return strings.TrimRight(s[:n], "._")
}

// older compares the major version. A version that was not said is not held against anybody; one that is a name is old.
func older(version string, oldest int) bool {
	if version == "" {
		return false
	}
	major, _, _ := strings.Cut(version, ".")
	n, err := strconv.Atoi(major)
	return err != nil || n < oldest
}
