package msauth

import (
	"context"
	"errors"
	"net/http"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/managedidentity"
)

// managed asks the machine, or the app service that runs this process, for a token of its identity. MSAL finds out which of the two it is
// from the environment that the platform sets.
func (s *Source) managed(ctx context.Context, audience string) (Token, error) {
	id := managedidentity.SystemAssigned()
	if s.cfg.ClientID != "" {
		id = managedidentity.UserAssignedClientID(s.cfg.ClientID)
	}
	client, err := managedidentity.New(id, managedidentity.WithHTTPClient(s.cfg.HTTP), managedidentity.WithRetryPolicyDisabled())
	if err != nil {
		return Token{}, &AuthError{Remedy: "this platform's managed identity cannot be used: use another credential"}
	}
	// Claims of any kind keep MSAL from its own cache, which is the process's and would give a refused token again; they are not sent.
	r, err := client.AcquireToken(ctx, audience, managedidentity.WithClaims("{}"))
	if err != nil {
		err = refusal(ctx, err)
		if auth, ok := errors.AsType[*AuthError](err); ok && auth.Code == "" && auth.Status < http.StatusInternalServerError && auth.Status != http.StatusTooManyRequests {
			auth.Remedy = "no managed identity answers here: give this machine or app service the identity, or use another credential"
		}
		return Token{}, err
	}
	return s.check(Token{Value: r.AccessToken, Expires: r.ExpiresOn}, audience)
}
