// Package audit is the vocabulary of the Microsoft 365 audit feed that every binary shares.
package audit

import (
	"fmt"
	"strings"
	"time"
)

// TenantID is the GUID of one Entra directory, lower-case.
type TenantID string

// ParseTenantID accepts a GUID in any letter case. A domain name is refused: the feed answers it with AF20013.
func ParseTenantID(s string) (TenantID, error) {
	if !IsGUID(s) {
		return "", fmt.Errorf("tenant %q is not a GUID: use the directory (tenant) id shown in the Entra admin centre", s)
	}
	return TenantID(strings.ToLower(s)), nil
}

// ContentType is one of the five content types of the Management Activity API, spelled as on the wire.
type ContentType string

// The five content types (Management Activity API reference, Working with the API).
const (
	Exchange   ContentType = "Audit.Exchange"
	SharePoint ContentType = "Audit.SharePoint"
	Entra      ContentType = "Audit.AzureActiveDirectory"
	General    ContentType = "Audit.General"
	DLP        ContentType = "DLP.All"
)

// ContentTypes lists the five content types in the order in which status and proofs show them.
func ContentTypes() []ContentType {
	return []ContentType{Entra, Exchange, SharePoint, General, DLP}
}

// Source names where a raw record came from; it is the middle part of its raw topic's name.
type Source string

// The sources. The first five are the content types of the feed.
const (
	SourceExchange   Source = "exchange"
	SourceSharePoint Source = "sharepoint"
	SourceEntra      Source = "entra"
	SourceGeneral    Source = "general"
	SourceDLP        Source = "dlp"
	SourceSignIns    Source = "signins"
	SourcePosture    Source = "posture"
	SourceImport     Source = "import"
	SourceRedrive    Source = "redrive"
)

// Sources lists every source that has a raw topic.
func Sources() []Source {
	return []Source{
		SourceExchange, SourceSharePoint, SourceEntra, SourceGeneral, SourceDLP,
		SourceSignIns, SourcePosture, SourceImport, SourceRedrive,
	}
}

// Source is the source that a content type's records come from; "" for a content type that does not exist.
func (c ContentType) Source() Source {
	switch c {
	case Exchange:
		return SourceExchange
	case SharePoint:
		return SourceSharePoint
	case Entra:
		return SourceEntra
	case General:
		return SourceGeneral
	case DLP:
		return SourceDLP
	}
	return ""
}

// Domain separates records whose ids must not be compared: a DLP.All record carries the matched content, the record of the
// same id in an audit content type does not.
type Domain string

// The domains (design: repeats are found within one domain only).
const (
	DomainAudit   Domain = "audit"
	DomainDLP     Domain = "dlp"
	DomainSignIns Domain = "signins"
	DomainPosture Domain = "posture"
)

// Workload names the workload part of an events or enriched topic.
type Workload string

// The workloads that have topics of their own.
const (
	WorkloadExchange      Workload = "exchange"
	WorkloadSharePoint    Workload = "sharepoint"
	WorkloadOneDrive      Workload = "onedrive"
	WorkloadTeams         Workload = "teams"
	WorkloadEntra         Workload = "entra"
	WorkloadPowerBI       Workload = "powerbi"
	WorkloadDynamics      Workload = "dynamics"
	WorkloadPurview       Workload = "purview"
	WorkloadDefender      Workload = "defender"
	WorkloadCopilot       Workload = "copilot"
	WorkloadPowerPlatform Workload = "powerplatform"
	WorkloadDLP           Workload = "dlp"
	WorkloadOther         Workload = "other"
)

// Workloads lists the workloads in the order in which proofs and documents show them.
func Workloads() []Workload {
	return []Workload{
		WorkloadEntra, WorkloadExchange, WorkloadSharePoint, WorkloadOneDrive, WorkloadTeams, WorkloadPowerBI, WorkloadDynamics,
		WorkloadPurview, WorkloadDefender, WorkloadCopilot, WorkloadPowerPlatform, WorkloadDLP, WorkloadOther,
	}
}

// Blob is the descriptor of one content blob, as a content listing gives it.
type Blob struct {
	Tenant      TenantID
	ContentType ContentType
	ContentID   string // opaque
	URI         string
	Created     time.Time // when the blob became available, not when its records happened
	Expiration  time.Time // until when it can be fetched
}

// Provenance says where a record came from. It travels in the headers of the raw record, since the value is verbatim.
type Provenance struct {
	Tenant      TenantID
	Source      Source
	Domain      Domain
	ContentType string    // the wire's content type; for other sources the name of the source
	ContentID   string    // content id of the blob, or the import unit's id
	Index       int       // position within the blob, from 0
	Created     time.Time // creation of the blob (for an import: of the file)
	Fetched     time.Time // when we fetched it
}

// Record is one vendor record, verbatim, with its provenance.
type Record struct {
	Raw []byte
	Provenance
}

// IsGUID reports whether s has the 8-4-4-4-12 form of a GUID, in any letter case.
func IsGUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if i == 8 || i == 13 || i == 18 || i == 23 {
			if c != '-' {
				return false
			}
			continue
		}
		hex := c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
		if !hex {
			return false
		}
	}
	return true
}
