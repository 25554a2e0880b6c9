package network

import (
	"fmt"
	"math"
	"net/netip"
	"strings"

	"github.com/oschwald/maxminddb-golang/v2"
)

// Place is what the databases say of an address. The zero value says nothing.
type Place struct {
	Location
	Number   uint32 // of the autonomous system; 0 = unknown
	Operator string // name of the autonomous system
}

// Found reports whether any database knew the address.
func (p Place) Found() bool { return p.Known() || p.Number != 0 || p.Operator != "" }

// Database is one MMDB file in memory. It is immutable and safe for concurrent use.
type Database struct {
	reader  *maxminddb.Reader
	version string
}

// OpenDatabase reads an MMDB file's bytes. They are kept, so the caller gives them away. They are held in memory on purpose: a
// mapped file that somebody overwrites in place would change, or fault, under a lookup.
func OpenDatabase(data []byte) (*Database, error) {
	r, err := maxminddb.OpenBytes(data)
	if err != nil {
		return nil, fmt.Errorf("open MMDB: %w", err)
	}
	return &Database{reader: r, version: fmt.Sprintf("%s@%d", r.Metadata.DatabaseType, r.Metadata.BuildEpoch)}, nil
}

// Databases are the optional lookups by address; nil ones are left out.
type Databases struct {
	Location *Database // GeoLite2 City or Country, or another of the same layout
	Operator *Database // GeoLite2 ASN, or another of the same layout
}

// Version names the builds of the databases; empty without any.
func (d Databases) Version() string {
	var parts []string
	for _, db := range [...]*Database{d.Location, d.Operator} {
		if db != nil {
			parts = append(parts, db.version)
		}
	}
	return strings.Join(parts, "+")
}

type locationRecord struct {
	Country struct {
		Code string `maxminddb:"iso_code"`
	} `maxminddb:"country"`
	City struct {
		Names struct {
			English string `maxminddb:"en"`
		} `maxminddb:"names"`
	} `maxminddb:"city"`
	Subdivisions []struct {
		Code string `maxminddb:"iso_code"`
	} `maxminddb:"subdivisions"`
	Location struct {
		Latitude  *float64 `maxminddb:"latitude"`
		Longitude *float64 `maxminddb:"longitude"`
	} `maxminddb:"location"`
}

type operatorRecord struct {
	Number       uint32 `maxminddb:"autonomous_system_number"`
	Organization string `maxminddb:"autonomous_system_organization"`
}

// Lookup finds an address. Addresses that are not Locatable are never looked up. A database that is damaged at this address says
// nothing about it: an error here must not stop an event.
func (d Databases) Lookup(a netip.Addr) Place {
	var p Place
	if !Locatable(a) {
		return p
	}
	a = a.Unmap().WithZone("")
	if d.Location != nil {
		var rec locationRecord
		if err := d.Location.reader.Lookup(a).Decode(&rec); err == nil {
			p.Location = rec.location()
		}
	}
	if d.Operator != nil {
		var rec operatorRecord
		if err := d.Operator.reader.Lookup(a).Decode(&rec); err == nil {
			p.Number, p.Operator = rec.Number, strings.ToValidUTF8(rec.Organization, "")
		}
	}
	return p
}

func (r *locationRecord) location() Location {
	l := Location{City: strings.ToValidUTF8(r.City.Names.English, "")}
	if IsCountry(r.Country.Code) {
		l.Country = r.Country.Code
	}
	if len(r.Subdivisions) > 0 && l.Country != "" && r.Subdivisions[0].Code != "" {
		l.Region = l.Country + "-" + strings.ToValidUTF8(r.Subdivisions[0].Code, "") // ISO 3166-2, as OCSF asks
	}
	if lat, long := r.Location.Latitude, r.Location.Longitude; lat != nil && long != nil && OnEarth(*lat, *long) {
		l.Latitude, l.Longitude, l.Precise = *lat, *long, true
	}
	return l
}

// IsCountry reports whether s has the form of an ISO 3166-1 alpha-2 code in upper case.
func IsCountry(s string) bool {
	return len(s) == 2 && s[0] >= 'A' && s[0] <= 'Z' && s[1] >= 'A' && s[1] <= 'Z'
}

// OnEarth reports whether a latitude and a longitude in degrees name a point.
func OnEarth(lat, long float64) bool {
	return math.Abs(lat) <= 90 && math.Abs(long) <= 180 // false for NaN and infinities too
}
