// Package tenant invents a Microsoft 365 tenant from a seed: its people and, blob by blob, the audit records they leave behind.
//
// Everything here is a pure function of Config. The same configuration gives the same bytes in every run and on every machine,
// and nothing holds more than a table of blob descriptors in memory, so a test can walk a week of ten million records beside the
// program that it tests. The week [Origin-7d, Origin) is complete the moment the tenant exists; after Origin the tenant goes on
// living in slots of ten seconds.
//
// The records follow the shapes, spellings and oddities of the real feed; names, addresses and values are invented.
package tenant

import (
	"cmp"
	"errors"
	"fmt"
	"sync"
	"time"
)

// The five content types of the feed, in the order in which this package numbers them.
const (
	AzureActiveDirectory = "Audit.AzureActiveDirectory"
	Exchange             = "Audit.Exchange"
	SharePoint           = "Audit.SharePoint"
	General              = "Audit.General"
	DLP                  = "DLP.All"
)

// ContentTypes returns the five content types in a fixed order.
func ContentTypes() []string {
	return []string{AzureActiveDirectory, Exchange, SharePoint, General, DLP}
}

// Defaults of Config.
const (
	DefaultLiveRate    = 3.0
	DefaultExpireAfter = 7 * 24 * time.Hour
	maxRecords         = 200_000_000
	maxLiveRate        = 10_000
	maxLargeRecord     = 64 << 20
	week               = 7 * 24 * time.Hour
)

// The named sizes of a tenant.
const (
	Small  = "small"  // a demo: 20,000 records in the week, and then 3 a second, so that one sees something happen
	Medium = "medium" // 100,000 records a day
	Large  = "large"  // 10 million records a week
)

// sizes says how many records the week of each named size has.
var sizes = map[string]int{Small: 20_000, Medium: 700_000, Large: 10_000_000}

// Config says which tenant this is. The zero value of each field but Origin means its default.
type Config struct {
	// Seed decides everything that is random about the tenant.
	Seed uint64
	// TenantID is the directory's GUID; empty means one derived from the seed.
	TenantID string
	// Size is one of the named sizes; it decides Records and LiveRate where they are zero. Default Small.
	Size string `json:",omitempty"`
	// Records is the number of distinct records of the week before Origin; the vendor's repeats come on top.
	Records int
	// Users is the size of the population, guests and service accounts included. Default: grows with Records, 25 to 5,000.
	Users int
	// Origin is the tenant's "now" when it is first started. Its week is [Origin-7d, Origin). Required.
	Origin time.Time
	// LiveRate is the number of records a second after Origin. Default: that of Size; negative means that nothing happens any more.
	LiveRate float64
	// LargeRecord is the size in bytes of one oversized record in the week. Default: there is none.
	LargeRecord int
	// ExpireAfter is how long a blob can be fetched after its creation. Default 7 days.
	ExpireAfter time.Duration
}

// ID returns the directory's GUID: TenantID, or the one that the seed gives.
func (c Config) ID() string {
	if c.TenantID != "" {
		return c.TenantID
	}
	return newGUID(c.Seed, saltTenant).String()
}

func (c Config) withDefaults() (Config, error) {
	if c.Origin.IsZero() {
		return c, errors.New("tenant: Origin is required")
	}
	c.Origin = c.Origin.UTC().Truncate(time.Second)
	c.TenantID = c.ID()
	ofSize, ok := sizes[cmp.Or(c.Size, Small)]
	if !ok {
		return c, fmt.Errorf("tenant: Size is %q, want %s, %s or %s", c.Size, Small, Medium, Large)
	}
	if c.LiveRate == 0 && ofSize == sizes[Small] {
		c.LiveRate = DefaultLiveRate
	}
	if c.LiveRate == 0 {
		c.LiveRate = float64(ofSize) / week.Seconds()
	}
	if c.Records == 0 {
		c.Records = ofSize
	}
	if c.Records < 0 || c.Records > maxRecords {
		return c, fmt.Errorf("tenant: Records is %d, want 1 to %d", c.Records, maxRecords)
	}
	if c.Users == 0 {
		c.Users = min(max(c.Records/400, 25), 5000)
	}
	if c.Users < 10 || c.Users > 100_000 {
		return c, fmt.Errorf("tenant: Users is %d, want 10 to 100000", c.Users)
	}
	if c.LiveRate > maxLiveRate {
		return c, fmt.Errorf("tenant: LiveRate is %g, want at most %d", c.LiveRate, maxLiveRate)
	}
	if c.LargeRecord < 0 || c.LargeRecord > maxLargeRecord {
		return c, fmt.Errorf("tenant: LargeRecord is %d, want 0 to %d", c.LargeRecord, maxLargeRecord)
	}
	if c.ExpireAfter == 0 {
		c.ExpireAfter = DefaultExpireAfter
	}
	return c, nil
}

// Salts keep the streams of random numbers that serve different ends apart.
const (
	saltTenant uint64 = iota + 0x6d696c6c
	saltPopulation
	saltGroups
	saltSites
	saltSlot
	saltRecord
	saltID
	saltSession
	saltBlob
	saltRepeat
	saltApp
	saltAttack
	saltSignIn
	saltNewcomer
)

// Tenant is one invented directory with its audit history. It is safe for concurrent use.
type Tenant struct {
	cfg    Config
	id     string
	words  *vocabulary
	prefix string // first label of every domain of the tenant

	domains []string
	users   []User
	active  []int32 // indexes of users that work, the busy ones more than once
	groups  []Group
	sites   []site
	apps    []app

	slotLen time.Duration
	base    []int    // base[i] is the ordinal of the first record of week slot i; one more entry holds the total
	attacks []attack // sorted by slot

	mu    sync.RWMutex // guards what follows; entries of the lists never change once they are there
	lists [numTypes][]descriptor
	live  int // live slots that are in lists
}

// New invents the tenant of a configuration. It plans the whole week, which costs about 50 ns a record, and renders none of it.
func New(cfg Config) (*Tenant, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	t := &Tenant{cfg: cfg, id: cfg.TenantID, words: words()}
	t.populate()
	t.layOutWeek()
	t.indexWeek()
	return t, nil
}

// ID returns the directory's GUID.
func (t *Tenant) ID() string { return t.id }

// Config returns the configuration with defaults filled in.
func (t *Tenant) Config() Config { return t.cfg }

// Users returns the population: members, guests and service accounts. The slice is the caller's to read, not to change.
func (t *Tenant) Users() []User { return t.users }

// Groups returns the groups with their members. The slice is the caller's to read, not to change.
func (t *Tenant) Groups() []Group { return t.groups }

// DomainNames returns the managed domains, the initial one first.
func (t *Tenant) DomainNames() []string { return t.domains }

// Application is a service principal of the directory.
type Application struct {
	AppID     string
	ObjectID  string
	Name      string
	Publisher string
	Verified  bool
}

// Applications returns the service principals.
func (t *Tenant) Applications() []Application {
	out := make([]Application, 0, len(t.apps))
	for i, a := range t.apps {
		out = append(out, Application{AppID: a.id, ObjectID: a.object.String(), Name: a.name, Publisher: a.vendor, Verified: a.own || i%2 == 0})
	}
	return out
}
