package wire

import "time"

// Kinds of directory objects; the key on the directory topic is tenant:kind:object id.
const (
	KindUser             = "user"
	KindGroup            = "group"
	KindServicePrincipal = "serviceprincipal"
	KindDomain           = "domain"
	KindComplete         = "complete" // its key is tenant:complete
)

// User is a directory user. Absent members are unknown.
type User struct {
	ID                    string   `json:"id"`
	UserPrincipalName     string   `json:"user_principal_name,omitempty"`
	Mail                  string   `json:"mail,omitempty"`
	DisplayName           string   `json:"display_name,omitempty"`
	Department            string   `json:"department,omitempty"`
	JobTitle              string   `json:"job_title,omitempty"`
	OfficeLocation        string   `json:"office_location,omitempty"`
	ManagerID             string   `json:"manager_id,omitempty"`
	UserType              string   `json:"user_type,omitempty"` // Member or Guest
	AccountEnabled        *bool    `json:"account_enabled,omitempty"`
	OnPremisesSyncEnabled *bool    `json:"on_premises_sync_enabled,omitempty"`
	ProxyAddresses        []string `json:"proxy_addresses,omitempty"`
	Roles                 []string `json:"roles,omitempty"` // directory roles, by name
}

// Group is a directory group with the ids of its direct members.
type Group struct {
	ID          string   `json:"id"`
	DisplayName string   `json:"display_name,omitempty"`
	Mail        string   `json:"mail,omitempty"`
	GroupTypes  []string `json:"group_types,omitempty"`
	Members     []string `json:"members,omitempty"`
}

// ServicePrincipal is an application as the tenant knows it.
type ServicePrincipal struct {
	ID                string `json:"id"`
	AppID             string `json:"app_id,omitempty"`
	DisplayName       string `json:"display_name,omitempty"`
	PublisherName     string `json:"publisher_name,omitempty"`
	VerifiedPublisher string `json:"verified_publisher,omitempty"`
}

// Domain is a managed domain of the tenant: users outside all of them are external.
type Domain struct {
	ID        string `json:"id"` // the domain's name
	IsDefault bool   `json:"is_default,omitempty"`
}

// Complete follows each full read of a tenant's directory.
type Complete struct {
	Version string    `json:"version"`
	At      time.Time `json:"at"`
	Objects int       `json:"objects"`
}
