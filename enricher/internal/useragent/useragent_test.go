package useragent

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	t.Parallel()
	const windows, webkit = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) ", "AppleWebKit/537.36 (KHTML, like Gecko) "
	tests := []struct {
		text string
		want Agent
	}{
		{windows + webkit + "Chrome/140.0.0.0 Safari/537.36 Edg/140.0.0.0", Agent{Client: "Microsoft Edge", Version: "140.0.0.0", System: "Windows", SystemVersion: "10", Device: Desktop}},
		{windows + webkit + "Chrome/104.0.0.0 Safari/537.36", Agent{Client: "Chrome", Version: "104.0.0.0", System: "Windows", SystemVersion: "10", Device: Desktop, OutdatedBrowser: true}},
		{"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15", Agent{Client: "Safari", Version: "18.5", System: "macOS", SystemVersion: "10.15.7", Device: Desktop}},
		{"Mozilla/5.0 (Macintosh; Intel Mac OS X 10.14; rv:72.0) Gecko/20100101 Firefox/72.0", Agent{Client: "Firefox", Version: "72.0", System: "macOS", SystemVersion: "10.14", Device: Desktop, OutdatedBrowser: true, OutdatedSystem: true}},
		{"Mozilla/5.0 (X11; Linux x86_64; rv:142.0) Gecko/20100101 Firefox/142.0", Agent{Client: "Firefox", Version: "142.0", System: "Linux", Device: Desktop}},
		{"Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1", Agent{Client: "Safari", Version: "18.5", System: "iOS", SystemVersion: "18.5", Device: Mobile}},
		{"Mozilla/5.0 (iPad; CPU OS 15_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/140.0 Mobile/15E148 Safari/604.1", Agent{Client: "Chrome", Version: "140.0", System: "iPadOS", SystemVersion: "15.1", Device: Tablet, OutdatedSystem: true}},
		{"Mozilla/5.0 (Linux; Android 15; Pixel 9) " + webkit + "Chrome/140.0.0.0 Mobile Safari/537.36", Agent{Client: "Chrome", Version: "140.0.0.0", System: "Android", SystemVersion: "15", Device: Mobile}},
		{"Mozilla/5.0 (Linux; Android 9; Tab) " + webkit + "Chrome/140.0.0.0 Safari/537.36", Agent{Client: "Chrome", Version: "140.0.0.0", System: "Android", SystemVersion: "9", Device: Tablet, OutdatedSystem: true}},
		{"Mozilla/4.0 (compatible; MSIE 8.0; Windows NT 6.1; Trident/4.0)", Agent{Client: "Internet Explorer", Version: "8.0", System: "Windows", SystemVersion: "7", Device: Desktop, OutdatedBrowser: true, OutdatedSystem: true}},
		{"Mozilla/5.0 (Windows NT 6.0; Trident/7.0; rv:11.0) like Gecko", Agent{Client: "Internet Explorer", Version: "11.0", System: "Windows", SystemVersion: "Vista", Device: Desktop, OutdatedBrowser: true, OutdatedSystem: true}},
		{windows + webkit + "Teams/1.6.00 Chrome/91.0 Electron/13.6 Safari/537.36", Agent{Client: "Microsoft Teams", Version: "1.6.00", System: "Windows", SystemVersion: "10", Device: Desktop, Native: true}},
		{"Microsoft Office/16.0 (Windows NT 10.0; Microsoft Outlook 16.0.17126; Pro)", Agent{Client: "Outlook", Version: "16.0.17126", System: "Windows", SystemVersion: "10", Device: Desktop, Native: true}},
		{"Outlook-iOS/2.0", Agent{Client: "Outlook Mobile", Version: "2.0", System: "iOS", Device: Mobile, Native: true}},
		{"Outlook-Android/2.0", Agent{Client: "Outlook Mobile", Version: "2.0", System: "Android", Device: Mobile, Native: true}},
		{"Client=POP3/IMAP4;Protocol=POP3", Agent{Client: "POP3", Native: true}},
		{"Client=OWA;Action=ViaProxy", Agent{}},
		{"SkypeSpaces/1.0a$*+", Agent{Client: "Microsoft Teams", Version: "1.0", Native: true}},
		{"python-requests/2.25.1", Agent{Client: "python-requests", Version: "2.25.1", Native: true}},
		{"", Agent{}},
		{"NONISV|Example|App/1.0", Agent{}},
	}
	p := NewParser(DefaultMinimum())
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, p.Parse(tt.text)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.text, diff)
		}
	}
}

func TestVersionFollowsTheJudgement(t *testing.T) {
	t.Parallel()
	a, b := NewParser(DefaultMinimum()), NewParser(DefaultMinimum())
	c := NewParser(Minimum{Browsers: map[string]int{"Chrome": 1}})
	if a.Version() != b.Version() || a.Version() == c.Version() {
		t.Errorf("versions %s %s %s", a.Version(), b.Version(), c.Version())
	}
	if c.Parse("Chrome/104.0").OutdatedBrowser {
		t.Error("104 is not below 1")
	}
}

func FuzzParse(f *testing.F) {
	f.Add("Mozilla/5.0 (Windows NT 10.0) Chrome/140.0 Safari/537.36")
	f.Add("Windows NT 6._Android__.. MSIE ")
	p := NewParser(DefaultMinimum())
	f.Fuzz(func(t *testing.T, text string) {
		a := p.Parse(text)
		if a != p.Parse(text) {
			t.Error("not pure")
		}
		if len(a.Version) > 32 || len(a.SystemVersion) > 32 || strings.ContainsAny(a.Version, "_\"\\") && strings.Contains(a.SystemVersion, "\"") {
			t.Errorf("version %q of system %q", a.Version, a.SystemVersion)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	p := NewParser(DefaultMinimum())
	b.ReportAllocs()
	for b.Loop() {
		p.Parse("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36 Edg/140.0.0.0")
	}
}
