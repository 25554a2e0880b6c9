package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"millrace/ingester/internal/source"
	"millrace/pkg/audit"
	"millrace/pkg/m365"
	"millrace/pkg/msauth"
)

const (
	inspectBound = time.Minute      // for all that is asked about one tenant
	reachBound   = 10 * time.Second // for one host to answer at all
	maxSkew      = 5 * time.Minute  // between this machine's clock and Microsoft's
)

// prerequisites are the numbers of those that -check can find missing.
func prerequisites() []string { return []string{"K1", "K2", "K3", "K8", "K9", "K11", "K12"} }

// inspection is one round through the prerequisites of a tenant.
type inspection struct {
	*connection
	t    Tenant
	rows []row
	skew []time.Duration // how far each host that answered is ahead of this machine
}

// inspect reads the prerequisites that can be read, K1 to K3, K8, K9, K11 and K12, and names those that cannot, K4, K6 and K7.
func (c *connection) inspect(ctx context.Context, t Tenant) []row {
	ctx, cancel := context.WithTimeout(ctx, inspectBound)
	defer cancel()
	in := &inspection{connection: c, t: t}
	if t.Paused {
		in.add("", "tenant", stateWarning, "paused", "nothing is read; what is not read within 7 days is lost")
		return in.rows
	}
	types, _ := t.contentTypes() // validated before
	in.network(ctx)
	in.clock()
	var feedErr error
	if len(types) > 0 {
		wanted := []string{roleFeed}
		if slices.Contains(types, audit.DLP) {
			wanted = append(wanted, roleDLP)
		}
		in.roles(ctx, c.hosts.API, wanted)
		feedErr = in.feedAnswers(ctx, types)
	}
	if t.has(componentDirectory) {
		in.roles(ctx, c.hosts.Graph, graphRoles())
	}
	in.licences(ctx, feedErr)
	in.unreadable(types)
	slices.SortStableFunc(in.rows, func(a, b row) int { return ordinal(a.Number) - ordinal(b.Number) })
	return in.rows
}

// ordinal is the place of a row: K2 before K12.
func ordinal(number string) int {
	n, _ := strconv.Atoi(strings.TrimPrefix(number, "K")) // written in this file
	return n
}

func (in *inspection) add(number, what, state, reading, remedy string) {
	if state == stateFailed && slices.Contains(in.t.Waive, number) {
		state = stateWaived
	}
	in.rows = append(in.rows, row{string(in.id), number, what, state, reading, remedy})
}

// failed adds a row for an error, with the remedy that belongs to it.
func (in *inspection) failed(number, what, state string, err error) {
	in.add(number, what, state, reading(err), source.RemedyOf(err))
}

// reading is an error without its remedy, which has a column of its own.
func reading(err error) string {
	return strings.TrimSuffix(err.Error(), ": "+source.RemedyOf(err))
}

// network asks each host for anything, as everything else is asked: through the proxy, if there is one, and trusting the same authorities.
func (in *inspection) network(ctx context.Context) {
	client := http.Client{Transport: in.transport, Timeout: reachBound, CheckRedirect: refuseRedirect}
	for _, h := range []struct {
		what, host string
		needed     bool
	}{
		{"network: sign-in", in.hosts.Authority, !in.t.ManagedIdentity}, // else the machine or app service signs in
		{"network: audit feed", in.hosts.API, in.t.has(componentActivities)},
		{"network: Graph", in.hosts.Graph, in.t.has(componentDirectory)},
	} {
		req, err := http.NewRequestWithContext(ctx, http.MethodHead, h.host, nil)
		if err == nil {
			var resp *http.Response
			if resp, err = client.Do(req); err == nil {
				_ = resp.Body.Close() // HEAD has none
				if at, perr := http.ParseTime(resp.Header.Get("Date")); perr == nil {
					in.skew = append(in.skew, time.Until(at))
				}
			}
		}
		switch {
		case err == nil:
			in.add("K12", h.what, stateOK, h.host, "")
		case !h.needed:
			in.add("K12", h.what, stateWarning, cause(err), "nothing that is configured needs it; without Graph K1 and K8 are not read")
		default:
			in.add("K12", h.what, stateFailed, cause(err), "allow this machine (firewall, proxy, ca_file) to reach "+h.host)
		}
	}
}

// cause is what went wrong with a request, without the address, which the row has anyway.
func cause(err error) string {
	if inner := errors.Unwrap(err); inner != nil {
		err = inner
	}
	return err.Error()
}

// clock compares this machine's clock with those of the hosts that answered.
func (in *inspection) clock() {
	if len(in.skew) == 0 {
		in.add("K11", "clock", stateUnknown, "no host has told its time", "see K12")
		return
	}
	worst := slices.MaxFunc(in.skew, func(a, b time.Duration) int { return int(a.Abs() - b.Abs()) })
	if worst.Abs() > maxSkew {
		in.add("K11", "clock", stateFailed, fmt.Sprintf("%s away from Microsoft's", worst.Abs().Round(time.Second)), "correct this machine's clock (NTP)")
		return
	}
	in.add("K11", "clock", stateOK, "within 5 minutes of Microsoft's", "")
}

// graphRoles are the permissions that the directory is read with.
func graphRoles() []string {
	return []string{"User.Read.All", "GroupMember.Read.All", "Group.Read.All", "Application.Read.All", "Domain.Read.All"}
}

// roles compares the roles of a token with the wanted ones.
func (in *inspection) roles(ctx context.Context, audience string, wanted []string) {
	what := "permissions for " + audience
	token, err := in.tokens.Token(ctx, audience)
	if err != nil {
		in.failed("K9", what, stateFailed, err)
		return
	}
	if !token.Read {
		in.add("K9", what, stateUnknown, "the token is opaque", "look at the API permissions of the app registration: "+strings.Join(wanted, ", "))
		return
	}
	missing := slices.DeleteFunc(msauth.MissingRoles(token, wanted...), func(role string) bool { return covered(role, token.Roles) })
	if len(missing) > 0 {
		in.add("K9", what, stateFailed, "missing "+strings.Join(missing, ", "), "add the application permissions and grant admin consent: "+in.consent)
		return
	}
	in.add("K9", what, stateOK, strings.Join(wanted, ", "), "")
}

// covered says whether Graph takes another role for the one that is missing. The feed's roles are covered by none.
func covered(role string, has []string) bool {
	if !slices.Contains(graphRoles(), role) {
		return false
	}
	others := []string{strings.Replace(role, ".Read.", ".ReadWrite.", 1), "Directory.Read.All", "Directory.ReadWrite.All"}
	if role == "GroupMember.Read.All" {
		others = append(others, "Group.Read.All", "Group.ReadWrite.All")
	}
	return slices.ContainsFunc(others, func(r string) bool { return slices.Contains(has, r) })
}

// feedAnswers asks for the subscriptions, and for the last minute of those that are on. What the feed refuses with also tells about
// auditing. The error is the refusal of the whole feed.
func (in *inspection) feedAnswers(ctx context.Context, types []audit.ContentType) error {
	const auditing, remedyUnread = "unified auditing", "see K3: the feed has to answer first"
	subs, err := in.feed.Subscriptions(ctx)
	if err != nil {
		if class := m365.ClassOf(err); class == m365.ClassAuditOff || class == m365.ClassDisabled {
			in.failed("K2", auditing, stateFailed, err)
			in.add("K3", "feed", stateUnknown, "not before auditing is on", "see K2")
		} else {
			in.add("K2", auditing, stateUnknown, "not read", remedyUnread)
			in.failed("K3", "feed", stateFailed, err)
		}
		return err
	}
	status := make(map[audit.ContentType]string)
	for _, s := range subs {
		status[s.ContentType] = s.Status
		if s.Status == "" { // as in one published sample
			status[s.ContentType] = "enabled"
		}
	}
	auditOff := error(nil)
	for _, ct := range types {
		what := "subscription " + string(ct)
		on, started := status[ct]
		switch {
		case !started:
			in.add("K3", what, stateOK, "not started yet", "none: the ingester starts it")
		case on != "enabled":
			in.add("K3", what, stateFailed, on, "start the ingester, which starts it again: what Microsoft makes until then is lost; if it does not stay on, turn unified audit logging on")
		default:
			now := time.Now().Add(in.feed.Skew())
			err := in.feed.Content(ctx, ct, now.Add(-time.Minute), now, func([]audit.Blob) error { return nil })
			switch class := m365.ClassOf(err); {
			case err == nil:
				in.add("K3", what, stateOK, "enabled", "")
			case class == m365.ClassAuditOff, class == m365.ClassDisabled:
				auditOff = err
				in.add("K3", what, stateUnknown, "not before auditing is on", "see K2")
			default:
				in.failed("K3", what, stateFailed, err)
			}
		}
	}
	if auditOff != nil {
		in.failed("K2", auditing, stateFailed, auditOff)
	} else {
		in.add("K2", auditing, stateOK, "the feed answers", "")
	}
	return auditOff
}

// sku is a licence that a tenant has bought.
type sku struct {
	CapabilityStatus, AppliesTo string
	ConsumedUnits               int
	ServicePlans                []struct{ ServicePlanName string }
}

// inUse says whether the licence is in force and assigned to somebody.
func (s sku) inUse() bool {
	return s.CapabilityStatus == "Enabled" && s.AppliesTo == "User" && s.ConsumedUnits > 0
}

// has says whether one of the licence's service plans begins so.
func (s sku) has(prefixes ...string) bool {
	for _, p := range s.ServicePlans {
		if slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(p.ServicePlanName, prefix) }) {
			return true
		}
	}
	return false
}

const (
	codeUnlicensed  = "AF20012"
	codeNoPremium   = "Authentication_RequestFromNonPremiumTenantOrB2CTenant"
	remedyLicence   = "assign at least one Microsoft 365 licence"
	remedyReadSKUs  = "grant LicenseAssignment.Read.All of Microsoft Graph to have it read here"
	remedyNoPremium = "none for the audit feed, which has sign-ins of its own; Graph's need Entra ID P1 or P2. waive: [K8] if that is known"
)

// licences reads K1 and K8 from the licences of the tenant; without the permission for those, from the refusals of the feed and of Graph.
func (in *inspection) licences(ctx context.Context, feedErr error) {
	var skus struct{ Value []sku }
	err := in.graph.Get(ctx, "read licences", "/v1.0/subscribedSkus", &skus)
	assigned, useful, premium := 0, false, false
	for _, s := range skus.Value {
		if s.inUse() {
			assigned += s.ConsumedUnits
			useful = useful || s.has("EXCHANGE", "SHAREPOINT", "ONEDRIVE", "TEAMS", "MCO", "YAMMER", "OFFICESUBSCRIPTION", "BI_")
			premium = premium || s.has("AAD_PREMIUM")
		}
	}
	const licence = "assigned licence"
	switch api, _ := errors.AsType[*m365.APIError](feedErr); {
	case api != nil && api.Code == codeUnlicensed:
		in.add("K1", licence, stateFailed, reading(feedErr), remedyLicence)
	case err != nil:
		in.unread("K1", licence, err, remedyReadSKUs)
	case assigned == 0:
		in.add("K1", licence, stateFailed, "none", remedyLicence)
	case !useful:
		in.add("K1", licence, stateWarning, fmt.Sprintf("%d assigned, of no Microsoft 365 service that is known here", assigned), remedyLicence)
	default:
		in.add("K1", licence, stateOK, fmt.Sprintf("%d assigned", assigned), "")
	}
	in.premium(ctx, err, premium)
}

// premium is K8. If the licences cannot be read, Graph's log of sign-ins is asked whether it would answer.
func (in *inspection) premium(ctx context.Context, skuErr error, found bool) {
	const what = "Entra ID P1 or P2"
	if skuErr != nil {
		skuErr = in.graph.Get(ctx, "read sign-ins", "/v1.0/auditLogs/signIns?$top=1", &struct{}{})
		found = skuErr == nil
	}
	switch api, _ := errors.AsType[*m365.APIError](skuErr); {
	case found:
		in.add("K8", what, stateOK, "present", "")
	case skuErr == nil, api != nil && api.Code == codeNoPremium:
		in.add("K8", what, stateFailed, "absent", remedyNoPremium)
	default:
		in.unread("K8", what, skuErr, remedyReadSKUs)
	}
}

// unread adds a row for what could not be read: the remedy is that of the error, unless only a permission is missing.
func (in *inspection) unread(number, what string, err error, grant string) {
	if m365.ClassOf(err) == m365.ClassPermission {
		in.add(number, what, stateUnknown, reading(err), grant)
		return
	}
	in.failed(number, what, stateUnknown, err)
}

// unreadable names the switches that no permission of ours lets one read.
func (in *inspection) unreadable(types []audit.ContentType) {
	const cannot, later = "cannot be read here", "; data comes 24 to 72 hours after it is switched on"
	if slices.Contains(types, audit.Exchange) {
		in.add("K4", "mailbox auditing", stateUnknown, cannot, "in Exchange Online PowerShell, Get-OrganizationConfig has to show AuditDisabled: False "+
			"(Set-OrganizationConfig -AuditDisabled $false) and Get-MailboxAuditBypassAssociation no mailbox with AuditBypassEnabled: True; users without E5 need auditing set on their mailbox")
	}
	if slices.Contains(types, audit.General) {
		in.add("K6", "Power BI auditing", stateUnknown, cannot, "if `ingester status` has not seen powerbi, switch it on in the tenant settings of the Fabric admin portal "+
			"(newer tenants: K2 covers it)"+later)
		in.add("K7", "Dynamics 365 auditing", stateUnknown, cannot, "if `ingester status` has not seen dynamics, switch isauditenabled, isuseraccessauditenabled and "+
			"isreadauditenabled of the Dataverse organization on, and those of its tables; production environments only"+later)
	}
}
