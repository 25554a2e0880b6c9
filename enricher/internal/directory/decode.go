package directory

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
	"unique"

	"millrace/pkg/audit"
	"millrace/pkg/kafkatx"
	"millrace/pkg/wire"
)

// Bounds on what one object may bring into every event that names it.
const (
	maxText      = 256
	maxAddresses = 400
	maxRoles     = 64
)

// errUnknownKind is returned for a kind of object that this release does not know. It is harmless: a newer ingester wrote it.
var errUnknownKind = errors.New("unknown kind of directory object")

// apply puts one record of the directory topic into the draft and returns its kind.
func (d *Draft) apply(rec kafkatx.Record) (kind string, err error) {
	name, rest, _ := strings.Cut(string(rec.Key), ":")
	kind, id, _ := strings.Cut(rest, ":")
	tenant, err := audit.ParseTenantID(name)
	if err != nil {
		return "", fmt.Errorf("key of a directory record: %w", err)
	}
	removed := len(rec.Value) == 0 || string(rec.Value) == "null"
	if id = strings.ToLower(id); id == "" && kind != wire.KindComplete {
		return kind, errors.New("key of a directory record names no object")
	}
	version := fmt.Sprintf("%d/%d", rec.Partition, rec.Offset)
	switch kind {
	case wire.KindUser:
		var u wire.User
		if err := decode(rec.Value, removed, &u); err != nil {
			return kind, err
		}
		d.SetUser(tenant, version, id, given(removed, userOf(id, u)))
	case wire.KindGroup:
		var g wire.Group
		if err := decode(rec.Value, removed, &g); err != nil {
			return kind, err
		}
		d.SetGroup(tenant, version, id, given(removed, groupOf(id, g)))
	case wire.KindServicePrincipal:
		var a wire.ServicePrincipal
		if err := decode(rec.Value, removed, &a); err != nil {
			return kind, err
		}
		d.SetApp(tenant, version, id, given(removed, appOf(id, a)))
	case wire.KindDomain:
		d.SetDomain(tenant, version, id, !removed)
	case wire.KindComplete:
		d.SetComplete(tenant, version, !removed)
	default:
		return "other", errUnknownKind
	}
	return kind, nil
}

func decode(value []byte, removed bool, into any) error {
	if removed {
		return nil
	}
	if err := json.Unmarshal(value, into); err != nil {
		return errors.New("value of a directory record is not what its kind asks for") // without the value: it is personal data
	}
	return nil
}

func given[T any](removed bool, v *T) *T {
	if removed {
		return nil
	}
	return v
}

func userOf(id string, u wire.User) *User {
	out := &User{
		ID:                intern(id),
		UserPrincipalName: clip(u.UserPrincipalName),
		Mail:              clip(u.Mail),
		DisplayName:       clip(u.DisplayName),
		Department:        intern(clip(u.Department)),
		JobTitle:          intern(clip(u.JobTitle)),
		OfficeLocation:    intern(clip(u.OfficeLocation)),
		ManagerID:         intern(strings.ToLower(clip(u.ManagerID))),
		UserType:          intern(clip(u.UserType)),
		Enabled:           FlagOf(u.AccountEnabled),
		OnPremisesSync:    FlagOf(u.OnPremisesSyncEnabled),
	}
	for _, a := range u.ProxyAddresses[:min(len(u.ProxyAddresses), maxAddresses)] {
		// Only mail addresses name a user in audit records; sip:, x500: and others do not.
		if scheme, address, ok := strings.Cut(a, ":"); !ok || strings.EqualFold(scheme, "smtp") {
			if !ok {
				address = a
			}
			out.Addresses = append(out.Addresses, clip(address))
		}
	}
	for _, r := range u.Roles[:min(len(u.Roles), maxRoles)] {
		out.Roles = append(out.Roles, intern(clip(r)))
	}
	slices.Sort(out.Roles)
	return out
}

func groupOf(id string, g wire.Group) *Group {
	out := &Group{ID: intern(id), DisplayName: clip(g.DisplayName)}
	if slices.Contains(g.GroupTypes, "Unified") {
		out.Type = "Microsoft 365"
	}
	for _, m := range g.Members {
		if m != "" && len(m) <= maxText {
			out.Members = append(out.Members, intern(strings.ToLower(m)))
		}
	}
	return out
}

func appOf(id string, a wire.ServicePrincipal) *App {
	return &App{
		ID: intern(id), AppID: strings.ToLower(clip(a.AppID)), DisplayName: clip(a.DisplayName),
		Publisher: intern(clip(a.PublisherName)), Verified: intern(clip(a.VerifiedPublisher)),
	}
}

// intern keeps one copy of texts that many objects share: members of groups, departments, roles.
func intern(s string) string { return unique.Make(s).Value() }

// clip bounds a text, at a character.
func clip(s string) string {
	if len(s) <= maxText {
		return s
	}
	n := maxText
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
