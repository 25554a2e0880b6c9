package join

import (
	"bytes"
	"net/netip"
	"net/url"
	"strings"

	"github.com/go-faster/jx"

	"millrace/enricher/internal/network"
	"millrace/enricher/internal/useragent"
)

// source looks the event's address up. The operator's own word on location and network operator beats a database's.
func (j *Joiner) source(e *endpoint, device useragent.Device) {
	if !e.found {
		return
	}
	from := j.begin()
	m := members{w: &j.added, some: true}
	if !e.has.kind {
		endpointKind(&m, device)
	}
	// A text that is no address is the normalizer's business; it is left alone.
	if a, err := netip.ParseAddr(string(e.ip)); err == nil && a.Zone() == "" {
		match := j.lookups.Ranges.Lookup(a)
		j.addNetwork(&m, e, a, match)
		j.describeNetwork(e.ip, a, match)
	}
	j.end(from, e.place)
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
	found := j.lookups.Places.Lookup(a)
	if j.lookups.Places.Location != nil {
		j.report[Location].note(found.Known(), true)
	}
	if j.lookups.Places.Operator != nil {
		j.report[Operator].note(found.Number != 0 || found.Operator != "", true)
	}
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
		l.w.ObjEnd()
	}
	if (found.Number != 0 || found.Operator != "") && !e.has.operator {
		as := m.open("autonomous_system")
		if found.Number != 0 {
			as.int("number", int(found.Number))
		}
		as.str("name", found.Operator)
		as.w.ObjEnd()
	}
	if !e.has.isp {
		m.str("isp", isp)
	}
}

func (j *Joiner) describeNetwork(ip []byte, a netip.Addr, match network.Match) {
	private := !network.Locatable(a)
	if j.lookups.Ranges != nil {
		j.report[Range].note(match.Found(), true)
	}
	if !match.Found() && !private {
		return
	}
	j.entry("src_endpoint.ip", ip, "network", providerOwn)
	m := members{w: &j.entries}
	if private {
		m.bool("is_private", true)
	}
	if c := match.Category(); c != network.Uncategorized {
		m.int("category_id", int(c))
		m.str("category", c.String())
	}
	j.tags = match.AppendTags(j.tags[:0])
	m.list("tags", j.tags)
	if match.Range != nil {
		m.str("range", match.Range.Name)
	}
	j.closeEntry()
}

// agent describes the program and returns the kind of device that it runs on.
func (j *Joiner) agent(text []byte) useragent.Device {
	if len(text) == 0 || j.lookups.Agents == nil {
		return useragent.DeviceUnknown
	}
	a := j.agents.parse(j.lookups.Agents, text)
	j.report[Agent].note(a.known, true)
	if !a.known || len(text) > maxValue {
		return a.device
	}
	j.entry("http_request.user_agent", text, "user_agent", providerOwn)
	j.entries.Raw(a.data)
	j.closeEntry()
	return a.device
}

// maxAgents bounds the cache. A tenant has some hundreds of different texts; a flood of invented ones empties it now and then.
const maxAgents = 4096

// agentCache remembers what texts say, for one parser.
type agentCache struct {
	parser *useragent.Parser
	known  map[string]parsedAgent
}

type parsedAgent struct {
	known  bool
	device useragent.Device
	data   []byte // members of the enrichment's data
}

func (c *agentCache) parse(p *useragent.Parser, text []byte) parsedAgent {
	if c.parser != p {
		c.parser, c.known = p, make(map[string]parsedAgent)
	}
	if a, ok := c.known[string(text)]; ok {
		return a
	}
	agent := p.Parse(string(text))
	a := parsedAgent{known: agent.Known(), device: agent.Device, data: agentData(agent)}
	if len(text) > maxValue {
		return a
	}
	if len(c.known) == maxAgents {
		clear(c.known)
	}
	c.known[string(text)] = a
	return a
}

func agentData(a useragent.Agent) []byte {
	var w jx.Writer
	m := members{w: &w}
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
	m.list("tags", tags)
	return w.Buf
}

// file says whether a file can be put into quarantine: the vendor supports the default library only, SharePoint's by its English
// name. Nothing is said of files elsewhere.
func (j *Joiner) file(path string, text []byte) {
	if len(text) == 0 || len(text) > maxValue || !bytes.HasPrefix(text, []byte("https://")) {
		return
	}
	u, err := url.Parse(string(text))
	if err != nil || !strings.Contains(u.Host, ".sharepoint.") {
		return
	}
	library := "/Shared Documents/"
	if strings.Contains(u.Host, "-my.sharepoint.") {
		library = "/Documents/"
	}
	j.entry(path, text, "governance", providerOwn)
	m := members{w: &j.entries}
	m.bool("can_quarantine", strings.Contains(u.Path+"/", library))
	j.closeEntry()
}
