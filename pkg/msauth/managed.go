package msauth

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

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

// maxAnswer bounds what a sign-in service may answer: MSAL reads all there is.
const maxAnswer = 1 << 20

// bounded is a client that reads no more than maxAnswer of an answer. A managed identity is asked without a proxy: its address is the
// machine's own.
func bounded(c *http.Client, direct bool) *http.Client {
	out := http.Client{Timeout: 30 * time.Second}
	if c != nil {
		out = *c
	} else if direct {
		out.Transport = &http.Transport{DisableKeepAlives: true}
	}
	if out.Transport == nil {
		out.Transport = http.DefaultTransport
	}
	out.Transport = limited{out.Transport}
	return &out
}

type limited struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (l limited) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := l.next.RoundTrip(r)
	if err == nil {
		resp.Body = &limitedBody{ReadCloser: resp.Body, left: maxAnswer}
	}
	return resp, err
}

type limitedBody struct {
	io.ReadCloser
	left int64
}

var errLongAnswer = errors.New("the answer of the sign-in service is too long")

func (b *limitedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errLongAnswer
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}
