package app

import (
	"context"
	"sync"
	"time"

	"millrace/pkg/audit"
	"millrace/pkg/msauth"
)

// The application permissions of the feed.
const (
	roleFeed = "ActivityFeed.Read"
	roleDLP  = "ActivityFeed.ReadDlp"
)

// renewForRoles is how often a token is replaced that lacks a role: it may have been granted meanwhile, and a token lives an hour.
const renewForRoles = time.Minute

// gate gives the tokens of one audience to a client, and refuses those that lack a role: so what is missing is named before the first call
// fails.
type gate struct {
	tokens   msauth.TokenSource
	audience string
	wanted   []string
	consent  string
	now      func() time.Time

	mu    sync.Mutex // guards again
	again time.Time  // before it no token is replaced for its roles
}

// bearer implements m365.Bearer.
func (g *gate) bearer(ctx context.Context, refused string) (string, error) {
	t, err := g.token(ctx, refused)
	return t.Value, err
}

func (g *gate) token(ctx context.Context, refused string) (msauth.Token, error) {
	var t msauth.Token
	var err error
	if refused == "" {
		t, err = g.tokens.Token(ctx, g.audience)
	} else {
		t, err = g.tokens.Renew(ctx, g.audience, refused)
	}
	if err != nil {
		return t, err
	}
	missing := msauth.MissingRoles(t, g.wanted...)
	if len(missing) > 0 && g.mayRenew() {
		if t, err = g.tokens.Renew(ctx, g.audience, t.Value); err != nil {
			return t, err
		}
		missing = msauth.MissingRoles(t, g.wanted...)
	}
	if len(missing) > 0 {
		return msauth.Token{}, msauth.MissingRole(missing, g.consent)
	}
	return t, nil
}

func (g *gate) mayRenew() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.now().Before(g.again) {
		return false
	}
	g.again = g.now().Add(renewForRoles)
	return true
}

// allowed says whether the app may read a content type, before anything is asked of it.
func (c *connection) allowed(ctx context.Context, ct audit.ContentType) error {
	if ct != audit.DLP {
		return nil // the gate of all calls has seen to it
	}
	_, err := c.dlp.token(ctx, "")
	return err
}
