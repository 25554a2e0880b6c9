// Package app is the enricher as a program: its configuration and how its parts are put together.
package app

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"millrace/enricher/internal/network"
	"millrace/internal/service"
	"millrace/pkg/audit"
	"millrace/pkg/wire"
)

// Config is the enricher's configuration; its help texts are the operator's reference.
type Config struct {
	service.Config `koanf:",squash"`

	Kafka      wire.Kafka `koanf:"kafka"`
	Directory  Directory  `koanf:"directory"`
	Network    Network    `koanf:"network"`
	Domains    []string   `koanf:"domains" help:"managed domains beside those that the directory names; users of other domains are external"`
	UserAgents UserAgents `koanf:"user_agents"`
}

// Directory says how users, groups and applications are joined.
type Directory struct {
	Wait    time.Duration `koanf:"wait" help:"how long the first event waits until the directory of every tenant was read whole; events after that say directory: incomplete. 0 where no directory is collected, as with imports only"`
	Tenants []string      `koanf:"tenants" help:"ids of the tenants to wait for; empty = every tenant that the directory topic names, and at least one"`
	Groups  []string      `koanf:"groups" help:"object ids of the groups that events name, at most 500; empty = all that the directory has"`
}

// Network says what is known about addresses.
type Network struct {
	Ranges       []Range       `koanf:"ranges" help:"your own ranges; an address may be in one of them only"`
	Feeds        []Feed        `koanf:"feeds" help:"lists of networks that carry a tag, such as Tor exit nodes; your own ranges beat them"`
	RiskyTags    []string      `koanf:"risky_tags" help:"tags of feeds whose addresses count as Risky; those of other feeds are Other"`
	LocationFile string        `koanf:"location_file" help:"MMDB file that tells country and city, such as GeoLite2-City.mmdb; read again when it is replaced"`
	OperatorFile string        `koanf:"operator_file" help:"MMDB file that tells the autonomous system, such as GeoLite2-ASN.mmdb; read again when it is replaced"`
	Reload       time.Duration `koanf:"reload" help:"how often feeds and MMDB files are looked at for a replacement"`
}

// Range is one of the operator's own ranges.
type Range struct {
	Name         string   `koanf:"name" help:"what events call the range"`
	Subnets      []string `koanf:"subnets" help:"networks in CIDR notation or single addresses, IPv4 and IPv6"`
	Category     string   `koanf:"category" help:"Corporate, Administrative, Risky, VPN, Cloud provider or Other; empty = none"`
	Tags         []string `koanf:"tags" help:"tags that are added to events"`
	Organization string   `koanf:"organization" help:"replaces the registered network operator"`
	Country      string   `koanf:"country" help:"replaces the country, two letters (ISO 3166-1)"`
	Region       string   `koanf:"region" help:"replaces the region"`
	City         string   `koanf:"city" help:"replaces the city"`
}

// Feed is a file of networks that carry a tag.
type Feed struct {
	Tag  string `koanf:"tag" help:"the tag, such as Tor exit nodes or Anonymous proxy"`
	File string `koanf:"file" help:"one network or address a line, # starts a comment; read again when it is replaced"`
}

// UserAgents says which browsers and systems count as outdated.
type UserAgents struct {
	Browsers map[string]int `koanf:"browsers" help:"oldest major version that is current, by name of the browser; adds to and replaces the built-in list"`
	Systems  map[string]int `koanf:"systems" help:"oldest major version that is current, by name of the operating system; adds to and replaces the built-in list"`
}

// adminPort is where /metrics and the probes are by default.
const adminPort = 9103

// Default is the configuration of an enricher that is told nothing.
func Default() Config {
	return Config{
		Config:    service.DefaultConfig(adminPort),
		Kafka:     wire.DefaultKafka(),
		Directory: Directory{Wait: 15 * time.Minute},
		Network:   Network{RiskyTags: []string{"Anonymous proxy", "Tor exit nodes"}, Reload: time.Minute},
	}
}

// maxGroups is how many groups may be imported, as in the product whose behaviour this follows.
const maxGroups = 500

// Validate names the first key that is wrong and what it takes.
func (c Config) Validate() error {
	if err := c.Kafka.Validate(); err != nil {
		return err
	}
	if c.Directory.Wait < 0 {
		return fmt.Errorf("directory.wait: %s: use 0 or more", c.Directory.Wait)
	}
	if _, err := c.Directory.tenants(); err != nil {
		return err
	}
	if n := len(c.Directory.Groups); n > maxGroups {
		return fmt.Errorf("directory.groups: %d groups: at most %d can be imported", n, maxGroups)
	}
	for i, id := range c.Directory.Groups {
		if !audit.IsGUID(id) {
			return fmt.Errorf("directory.groups.%d: %q is no object id: copy it from the group's page in the Entra admin centre", i, id)
		}
	}
	for i, d := range c.Domains {
		if !strings.Contains(d, ".") || strings.ContainsAny(d, "@/ ") {
			return fmt.Errorf("domains.%d: %q is no domain such as example.org", i, d)
		}
	}
	if c.Network.Reload < time.Second {
		return fmt.Errorf("network.reload: %s: use 1s or more", c.Network.Reload)
	}
	sources, err := c.Network.sources()
	if err != nil {
		return err
	}
	if _, err := network.NewTable(sources.Ranges, nil); err != nil {
		return fmt.Errorf("network.ranges: %w", err)
	}
	return nil
}

func (d Directory) tenants() ([]audit.TenantID, error) {
	var out []audit.TenantID
	for i, s := range d.Tenants {
		id, err := audit.ParseTenantID(s)
		if err != nil {
			return nil, fmt.Errorf("directory.tenants.%d: %w", i, err)
		}
		out = append(out, id)
	}
	return out, nil
}

// sources turns the section into what lookups rest on.
func (n Network) sources() (network.Sources, error) {
	var s network.Sources
	for i, r := range n.Ranges {
		out, err := r.parse()
		if err != nil {
			return s, fmt.Errorf("network.ranges.%d.%w", i, err)
		}
		s.Ranges = append(s.Ranges, out)
	}
	for i, f := range n.Feeds {
		if f.Tag == "" || f.File == "" {
			return s, fmt.Errorf("network.feeds.%d: give both tag and file", i)
		}
		category := network.Other
		if slices.Contains(n.RiskyTags, f.Tag) {
			category = network.Risky
		}
		s.Feeds = append(s.Feeds, network.FeedFile{Tag: f.Tag, Category: category, File: file{key: fmt.Sprintf("network.feeds.%d.file", i), path: f.File}})
	}
	if n.LocationFile != "" {
		s.Location = file{key: "network.location_file", path: n.LocationFile}
	}
	if n.OperatorFile != "" {
		s.Operator = file{key: "network.operator_file", path: n.OperatorFile}
	}
	return s, nil
}

// parse reads a range. Its errors begin with the key below the range.
func (r Range) parse() (network.Range, error) {
	out := network.Range{Name: r.Name, Tags: r.Tags, Organization: r.Organization, Location: network.Location{Country: r.Country, Region: r.Region, City: r.City}}
	if r.Name == "" {
		return out, errors.New("name: give the range a name")
	}
	if len(r.Subnets) == 0 {
		return out, errors.New("subnets: name at least one network")
	}
	for i, s := range r.Subnets {
		p, err := network.ParsePrefix(s)
		if err != nil {
			return out, fmt.Errorf("subnets.%d: %w", i, err)
		}
		out.Prefixes = append(out.Prefixes, p)
	}
	if r.Category != "" {
		var err error
		if out.Category, err = network.ParseCategory(r.Category); err != nil {
			return out, fmt.Errorf("category: %w", err)
		}
	}
	if r.Country != "" && !network.IsCountry(r.Country) {
		return out, fmt.Errorf("country: %q is no code of two capital letters such as NL", r.Country)
	}
	return out, nil
}
