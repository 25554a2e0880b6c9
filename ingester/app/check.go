package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"millrace/internal/service"
	"millrace/pkg/audit"
	"millrace/pkg/m365"
	"millrace/pkg/msauth"
)

// row is one line of the table of prerequisites.
type row struct {
	tenant, number, what, state, reading, remedy string
}

// The states of a prerequisite.
const (
	stateOK      = "ok"
	stateFailed  = "FAILED"
	stateUnknown = "unknown" // cannot be read from here
)

// Check looks at Kafka and at the prerequisites of every tenant and prints a table. It starts and changes nothing.
func Check(ctx context.Context, cfg Config, rt service.Runtime, w io.Writer) error {
	rows := []row{checkKafka(ctx, cfg, rt)}
	for _, t := range cfg.Tenants {
		c, err := t.connect(cfg.Limits, nil, transports{})
		if err != nil {
			return err
		}
		rows = append(rows, c.check(ctx, t)...)
	}
	failed := 0
	tw := tabwriter.NewWriter(w, 2, 8, 2, ' ', 0)
	_, _ = fmt.Fprintln(tw, "TENANT\tNO\tPREREQUISITE\tSTATE\tREADING\tREMEDY") // errors surface at Flush
	for _, r := range rows {
		if r.state == stateFailed {
			failed++
		}
		_, _ = fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\n", r.tenant, r.number, r.what, r.state, r.reading, r.remedy)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d prerequisites failed: follow the remedies above: %w", failed, len(rows), service.ErrReported)
	}
	return nil
}

func checkKafka(ctx context.Context, cfg Config, rt service.Runtime) row {
	r := row{tenant: "-", number: "-", what: "Kafka", state: stateOK, reading: strings.Join(cfg.Kafka.Brokers, ",")}
	client, err := cfg.Kafka.Client("check", rt.Log, nil)
	if err == nil {
		defer client.Close()
		ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
		defer cancel()
		err = client.Ping(ctx)
	}
	if err != nil {
		r.state, r.remedy = stateFailed, err.Error()
	}
	return r
}

// check reads the prerequisites K1 to K3, K9, K11 and K12 of one tenant and names those that cannot be read from here.
func (c *connection) check(ctx context.Context, t Tenant) []row {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	rows := c.network(ctx)
	add := func(number, what, state, reading, remedy string) {
		rows = append(rows, row{string(c.id), number, what, state, reading, remedy})
	}
	wanted := []string{roleFeed}
	types, _ := t.contentTypes() // validated before
	for _, ct := range types {
		if ct == audit.DLP {
			wanted = append(wanted, roleDLP)
		}
	}
	c.roles(ctx, add, c.hosts.API, wanted)
	if t.has(componentDirectory) {
		c.roles(ctx, add, c.hosts.Graph, []string{"User.Read.All", "GroupMember.Read.All", "Group.Read.All", "Application.Read.All", "Domain.Read.All"})
	}
	c.subscriptions(ctx, add, types)
	c.licence(ctx, add)
	switch skew := c.feed.Skew(); {
	case skew > 5*time.Minute, skew < -5*time.Minute:
		add("K11", "clock", stateFailed, fmt.Sprintf("%s off", skew.Round(time.Second)), "correct this machine's clock (NTP)")
	default:
		add("K11", "clock", stateOK, "within 5 minutes", "")
	}
	add("K4", "mailbox auditing", stateUnknown, "cannot be read here", "Get-OrganizationConfig: AuditDisabled must be False")
	add("K6", "Power BI auditing", stateUnknown, "cannot be read here", "after switching it on, data comes within 24 to 72 hours")
	add("K7", "Dynamics auditing", stateUnknown, "cannot be read here", "after switching it on, data comes within 24 to 72 hours")
	return rows
}

type addRow func(number, what, state, reading, remedy string)

// network opens a TLS connection to each host.
func (c *connection) network(ctx context.Context) []row {
	var rows []row
	for _, host := range []string{c.hosts.Authority, c.hosts.API, c.hosts.Graph} {
		r := row{tenant: string(c.id), number: "K12", what: "network", state: stateOK, reading: host}
		if err := c.dial(ctx, host); err != nil {
			r.state, r.remedy = stateFailed, "allow this machine to reach the host: "+err.Error()
		}
		rows = append(rows, r)
	}
	return rows
}

func (c *connection) dial(ctx context.Context, host string) error {
	u, err := url.Parse(host)
	if err != nil {
		return err
	}
	address := u.Host
	if u.Port() == "" {
		address = net.JoinHostPort(u.Hostname(), "443")
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	d := tls.Dialer{Config: &tls.Config{RootCAs: c.roots, ServerName: u.Hostname(), MinVersion: tls.VersionTLS12}}
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return conn.Close()
}

// roles compares the roles of a token with the wanted ones.
func (c *connection) roles(ctx context.Context, add addRow, audience string, wanted []string) {
	what := "permissions for " + audience
	token, err := c.tokens.Token(ctx, audience)
	if err != nil {
		remedy := "see the error"
		if auth, ok := errors.AsType[*msauth.AuthError](err); ok {
			remedy = auth.Remedy
		}
		add("K9", what, stateFailed, err.Error(), remedy)
		return
	}
	if missing := msauth.MissingRoles(token, wanted...); len(missing) > 0 {
		add("K9", what, stateFailed, "missing "+strings.Join(missing, ", "), "add the application permissions and grant admin consent: "+c.consent)
		return
	}
	add("K9", what, stateOK, strings.Join(wanted, ", "), "")
}

// subscriptions asks the feed; its refusals also tell about auditing.
func (c *connection) subscriptions(ctx context.Context, add addRow, types []audit.ContentType) {
	subs, err := c.feed.Subscriptions(ctx)
	switch {
	case err != nil && m365.ClassOf(err) == m365.ClassAuditOff:
		add("K2", "unified auditing", stateFailed, err.Error(), m365.RemedyOf(err))
	case err != nil:
		add("K3", "feed reachable", stateFailed, err.Error(), m365.RemedyOf(err))
	default:
		add("K2", "unified auditing", stateOK, "the feed answers", "")
		on := make(map[audit.ContentType]bool)
		for _, s := range subs {
			on[s.ContentType] = s.Status != "disabled"
		}
		for _, ct := range types {
			if on[ct] {
				add("K3", "subscription "+string(ct), stateOK, "enabled", "")
			} else {
				add("K3", "subscription "+string(ct), stateOK, "not started yet", "none: the ingester starts it")
			}
		}
	}
}

// licence looks for a licence that is assigned to somebody.
func (c *connection) licence(ctx context.Context, add addRow) {
	var skus struct {
		Value []struct {
			CapabilityStatus, AppliesTo string
			ConsumedUnits               int
		}
	}
	if err := c.graph.Get(ctx, "read licences", "/v1.0/subscribedSkus", &skus); err != nil {
		add("K1", "assigned licence", stateUnknown, err.Error(), "grant LicenseAssignment.Read.All to have it read here")
		return
	}
	for _, s := range skus.Value {
		if s.CapabilityStatus == "Enabled" && s.AppliesTo == "User" && s.ConsumedUnits > 0 {
			add("K1", "assigned licence", stateOK, fmt.Sprintf("%d assigned", s.ConsumedUnits), "")
			return
		}
	}
	add("K1", "assigned licence", stateFailed, "none", "assign at least one Microsoft 365 licence")
}
