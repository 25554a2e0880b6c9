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

// States of a connector's component, as the status topic, the metrics and the console name them.
const (
	StateConnecting     = "Connecting"        // signing in, starting subscriptions
	StateAwaiting       = "AwaitingFirstData" // everything is on, nothing was listed yet
	StateConnected      = "Connected"
	StateThrottled      = "Throttled"       // the service slows us down
	StateActionRequired = "ActionRequired"  // an operator has to do what the remedy says
	StateConnError      = "ConnectionError" // no success for two hours
	StateDisconnected   = "Disconnected"    // no success for twelve hours
)

// Status is one value on the status topic, keyed tenant:component. A component is a source of pkg/audit, or directory.
type Status struct {
	Tenant    string    `json:"tenant"`
	Component string    `json:"component"`
	State     string    `json:"state"`
	Since     time.Time `json:"since"`            // when this state was entered
	Code      string    `json:"code,omitempty"`   // of the service's last refusal, for example AF20012
	Remedy    string    `json:"remedy,omitempty"` // what an operator can do
	Cursor    time.Time `json:"cursor,omitzero"`  // where live listing goes on
	LastBlob  time.Time `json:"last_blob,omitzero"`
	Open      int       `json:"open,omitempty"` // blobs listed and not committed yet
	Gaps      int       `json:"gaps,omitempty"` // recorded since this process owns the tenant
	DataLoss  bool      `json:"data_loss,omitempty"`
	At        time.Time `json:"at"`
}
