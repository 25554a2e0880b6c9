package app

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"millrace/pkg/audit"
	"millrace/pkg/msauth"
)

// tokens gives tokens with the roles that are granted when it is asked for a new one.
type tokens struct {
	granted []string
	opaque  bool
	current msauth.Token
	renewed int
}

func (s *tokens) Token(ctx context.Context, audience string) (msauth.Token, error) {
	if s.current.Value == "" {
		return s.Renew(ctx, audience, "")
	}
	return s.current, nil
}

func (s *tokens) Renew(context.Context, string, string) (msauth.Token, error) {
	s.renewed++
	s.current = msauth.Token{Value: "token", Roles: slices.Clone(s.granted), Read: !s.opaque}
	return s.current, nil
}

// TestMissingRoleIsNamed: before the first call, and a role that was granted meanwhile is found without a restart.
func TestMissingRoleIsNamed(t *testing.T) {
	t.Parallel()
	s := &tokens{granted: []string{roleFeed}}
	now := time.Now()
	c := &connection{dlp: &gate{tokens: s, audience: "https://manage.example.org", wanted: []string{roleFeed, roleDLP}, consent: "https://consent.example.org", now: func() time.Time { return now }}}
	if err := c.allowed(t.Context(), audit.General); err != nil {
		t.Error(err)
	}
	for range 3 {
		err := c.allowed(t.Context(), audit.DLP)
		auth, ok := errors.AsType[*msauth.AuthError](err)
		if !ok || auth.Code != msauth.CodeMissingRole {
			t.Fatalf("error %v", err)
		}
	}
	if s.renewed != 2 {
		t.Errorf("%d sign-ins, want the first one and one to see whether the role was granted", s.renewed)
	}
	s.granted = append(s.granted, roleDLP)
	if err := c.allowed(t.Context(), audit.DLP); err == nil {
		t.Error("a token that is too old for the role was taken")
	}
	now = now.Add(renewForRoles)
	if err := c.allowed(t.Context(), audit.DLP); err != nil {
		t.Error(err)
	}
	none := &gate{tokens: &tokens{opaque: true}, wanted: []string{roleFeed}, now: time.Now}
	if got, err := none.bearer(t.Context(), ""); err != nil || got != "token" {
		t.Errorf("an opaque token: %q, %v", got, err)
	}
}
