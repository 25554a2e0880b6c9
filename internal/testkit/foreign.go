package testkit

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
)

// Foreign is a host that nobody has business with: two listeners, https and http, that keep a log of who came and what they brought. Whoever
// trusts another server of httptest trusts it, too, so that only the caller's own care keeps a call away.
type Foreign struct {
	TLS, Plain *httptest.Server

	mu  sync.Mutex // guards log
	log []string
}

// StartForeign starts a Foreign that ends with the test.
func StartForeign(t testing.TB) *Foreign {
	t.Helper()
	f := &Foreign{}
	serve := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm() // a body that is no form is not what is stolen here
		f.note(fmt.Sprintf("%s %s Authorization=%q form=%v", r.Method, r.URL, r.Header.Get("Authorization"), r.PostForm))
		w.WriteHeader(http.StatusTeapot)
	})
	for _, server := range []**httptest.Server{&f.TLS, &f.Plain} {
		s := httptest.NewUnstartedServer(serve)
		s.Config.ConnState = func(c net.Conn, state http.ConnState) {
			if state == http.StateNew {
				f.note("connection to " + c.LocalAddr().String())
			}
		}
		*server = s
		t.Cleanup(s.Close)
	}
	f.TLS.StartTLS()
	f.Plain.Start()
	return f
}

func (f *Foreign) note(line string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.log = append(f.log, line)
}

// Log is everything that came to the host, connections included.
func (f *Foreign) Log() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.log)
}

// Unvisited fails the test if anything came.
func (f *Foreign) Unvisited(t testing.TB) {
	t.Helper()
	if log := f.Log(); len(log) > 0 {
		t.Errorf("the foreign host was called: %q", log)
	}
}
