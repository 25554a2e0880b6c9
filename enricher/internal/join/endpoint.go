package join

import (
	"bytes"
	"net/netip"
	"net/url"
	"strings"

	"millrace/enricher/internal/network"
	"millrace/enricher/internal/useragent"
)

// source looks the event's address up. The operator's own word on location and network operator beats a database's.
func (j *Joiner) source(e *endpoint, device useragent.Device) {
	if !e.found {
		return
	}
	from := len(j.added)
	m := j.adding()
	if !e.has.kind {
		endpointKind(&m, device)
	}
	// A text that is no address is the normalizer's business; it is left alone.
	if a, err := netip.ParseAddr(string(e.ip.text)); err == nil && a.Zone() == "" {
		match := j.lookups.Ranges.Lookup(a)
		j.addNetwork(&m, e, a, match)
		j.describeNetwork(e.ip, a, match)
	}
	j.add(from, e.place)
}

// endpointKind says what the caller's device is, in OCSF's numbers and captions.
func endpointKind(m *members, d useragent.Device) {
	switch d {
	case useragent.Desktop:
		m.int("type_id", 2)
		m.str("type", "Desktop")
	case useragent.Tablet:
		m.int("type_id", 4)
		m.str("type", "Tablet")
	case useragent.Mobile:
		m.int("type_id", 5)
		m.str("type", "Mobile")
	case useragent.DeviceOther, useragent.DeviceUnknown:
	}
}

func (j *Joiner) addNetwork(m *members, e *endpoint, a netip.Addr, match network.Match) {
	if !network.Locatable(a) {
		return
	}
	found := j.place(a)
	isp := found.Operator
	if r := match.Range; r != nil {
		if r.Location.Known() {
			found.Location = r.Location
		}
		if r.Organization != "" {
			isp = r.Organization
		}
	}
	if found.Known() && !e.has.location {
		l := m.open("location")
		l.str("country", found.Country)
		l.str("region", found.Region)
		l.str("city", found.City)
		if found.Precise {
			l.float("lat", found.Latitude)
			l.float("long", found.Longitude)
		}
		l.close()
	}
	if (found.Number != 0 || found.Operator != "") && !e.has.operator {
		as := m.open("autonomous_system")
		if found.Number != 0 {
			as.int("number", int(found.Number))
		}
		as.str("name", found.Operator)
		as.close()
	}
	if !e.has.isp {
		m.str("isp", isp)
	}
}

// place asks the databases, once for all events from an address.
func (j *Joiner) place(a netip.Addr) network.Place {
	found, ok := j.places.known[a]
	if !ok {
		found = j.places.put(a, j.lookups.Places.Lookup(a))
	}
	if j.lookups.Places.Location != nil {
		j.report[Location].note(found.Known(), true)
	}
	if j.lookups.Places.Operator != nil {
		j.report[Operator].note(found.Number != 0 || found.Operator != "", true)
	}
	return found
}

func (j *Joiner) describeNetwork(ip literal, a netip.Addr, match network.Match) {
	private := !network.Locatable(a)
	if j.lookups.Ranges != nil {
		j.report[Range].note(match.Found(), true)
	}
	if !match.Found() && !private {
		return
	}
	m := j.entry(aboutNetwork, ip.raw, "src_endpoint.ip")
	if private {
		m.bool("is_private", true)
	}
	if c := match.Category(); c != network.Uncategorized {
		m.int("category_id", int(c))
		m.str("category", c.String())
	}
	j.tags = match.AppendTags(j.tags[:0])
	m.list("tags", j.tags...)
	if match.Range != nil {
		m.str("range", match.Range.Name)
	}
	j.closeEntry()
}

// agentText is what is written about a program, ready to be copied.
type agentText struct {
	known  bool
	device useragent.Device
	data   []byte // of the enrichment
}

// agent describes the program and returns the kind of device that it runs on.
func (j *Joiner) agent(text literal) useragent.Device {
	if len(text.text) == 0 || len(text.raw) > maxValue || j.lookups.Agents == nil {
		return useragent.DeviceUnknown
	}
	a, ok := j.agents.known[string(text.text)]
	if !ok {
		name := string(text.text)
		a = j.agents.put(name, agentOf(j.lookups.Agents.Parse(name)))
	}
	j.report[Agent].note(a.known, true)
	if a.known {
		j.entry(aboutAgent, text.raw, "http_request.user_agent")
		j.entries = append(j.entries, a.data...)
		j.closeEntry()
	}
	return a.device
}

func agentOf(a useragent.Agent) agentText {
	var b []byte
	m := members{buf: &b}
	if a.Native {
		m.str("client", a.Client)
		m.str("client_version", a.Version)
	} else {
		m.str("browser", a.Client)
		m.str("browser_version", a.Version)
	}
	m.str("os", a.System)
	m.str("os_version", a.SystemVersion)
	m.str("device_type", string(a.Device))
	var tags []string
	if a.OutdatedBrowser {
		tags = append(tags, "Outdated browser")
	}
	if a.OutdatedSystem {
		tags = append(tags, "Outdated operating system")
	}
	if a.Native {
		tags = append(tags, "Native client")
	}
	m.list("tags", tags...)
	return agentText{known: a.Known(), device: a.Device, data: b}
}

// file says whether a file can be put into quarantine: the vendor supports the default library only, SharePoint's by its English
// name. Nothing is said of files elsewhere.
func (j *Joiner) file(path string, text literal) {
	if len(text.raw) > maxValue || !bytes.HasPrefix(text.text, []byte("https://")) {
		return
	}
	u, err := url.Parse(string(text.text))
	if err != nil || !strings.Contains(u.Host, ".sharepoint.") {
		return
	}
	library := "/Shared Documents/"
	if strings.Contains(u.Host, "-my.sharepoint.") {
		library = "/Documents/"
	}
	m := j.entry(aboutGovernance, text.raw, path)
	m.bool("can_quarantine", strings.Contains(u.Path+"/", library))
	j.closeEntry()
}
