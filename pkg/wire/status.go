package wire

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"millrace/pkg/audit"
)

// States of a connector's component, as the status topic, the metrics and the console name them.
const (
	StateConnecting     = "Connecting"         // signing in, starting subscriptions
	StateAwaiting       = "AwaitingFirstData"  // everything is on, nothing was listed yet
	StateConnected      = "Connected"          // the last listing succeeded
	StatePartial        = "PartiallyConnected" // of a whole connector: some components fail, not all
	StateThrottled      = "Throttled"          // the service slows us down
	StateActionRequired = "ActionRequired"     // an operator has to do what the remedy says
	StateConnError      = "ConnectionError"    // no success for two hours
	StateDisconnected   = "Disconnected"       // no success for twelve hours
	StateDisabled       = "Disabled"           // switched off by an operator
)

// Status is one value on the status topic, keyed tenant:component. A component is a source of pkg/audit, directory, or replicas.
type Status struct {
	Tenant    string               `json:"tenant"`
	Component string               `json:"component"`
	State     string               `json:"state"`
	Since     time.Time            `json:"since"`            // when this state was entered
	Code      string               `json:"code,omitempty"`   // of the service's last refusal, for example AF20012
	Remedy    string               `json:"remedy,omitempty"` // what an operator can do
	Cursor    time.Time            `json:"cursor,omitzero"`  // where live listing goes on
	LastBlob  time.Time            `json:"last_blob,omitzero"`
	Open      int                  `json:"open,omitempty"`       // blobs listed and not committed yet
	Gaps      int                  `json:"gaps,omitempty"`       // recorded and not acknowledged
	DataLoss  bool                 `json:"data_loss,omitempty"`  // among them is more than the missing history of a new subscription
	FirstSeen map[string]time.Time `json:"first_seen,omitempty"` // workload: creation of the first blob that had a record of it
	At        time.Time            `json:"at"`
}

// ComponentReplicas is the component under which replicas report that their lists of tenants differ. Whoever sees it writes it again each
// minute; one that is older than ReplicasFresh is over.
const (
	ComponentReplicas = "replicas"
	ReplicasFresh     = 3 * time.Minute
)

// OpenGap is a gap that no operator has acknowledged, on the status topic under GapKey; an acknowledgement removes it.
type OpenGap struct {
	Tenant      string    `json:"tenant"`
	Source      string    `json:"source"`
	ContentType string    `json:"content_type,omitempty"`
	Gap         Gap       `json:"gap"`
	At          time.Time `json:"at"` // when it was recorded
}

// TenantList says which tenants the owner of a number has in its configuration, on the status topic under TenantListKey.
type TenantList struct {
	Tenants []string  `json:"tenants"` // all of them, of all numbers, in order
	At      time.Time `json:"at"`
}

const (
	gapPrefix  = "gap:"
	listPrefix = "tenants:"
)

// StatusKey splits the key of a component's state; ok is false for every other key of the status topic.
func StatusKey(key string) (tenant, component string, ok bool) {
	tenant, component, ok = strings.Cut(key, ":")
	return tenant, component, ok && component != "" && audit.IsGUID(tenant)
}

// GapKey is the key of an open gap on the status topic. Its last part names the gap to an operator.
func GapKey(tenant, source string, g Gap) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d %d %s", g.Reason, g.Start.UnixNano(), g.End.UnixNano(), g.ContentID))
	return gapPrefix + tenant + ":" + source + ":" + hex.EncodeToString(sum[:8])
}

// IsGapKey reports whether a key of the status topic is that of an open gap.
func IsGapKey(key string) bool { return strings.HasPrefix(key, gapPrefix) }

// TenantListKey is the key of the list of tenants of a number's owner.
func TenantListKey(number int32) string { return listPrefix + strconv.Itoa(int(number)) }

// TenantListNumber reads the number back from a TenantListKey.
func TenantListNumber(key string) (int32, bool) {
	text, ok := strings.CutPrefix(key, listPrefix)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseInt(text, 10, 32)
	return int32(n), err == nil && n >= 0
}
