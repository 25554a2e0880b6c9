package testkit_test

import (
	"net/http"
	"strings"
	"testing"

	"millrace/internal/testkit"
)

// TestForeignSeesWhoComes: a log that shows nothing must mean that nothing came.
func TestForeignSeesWhoComes(t *testing.T) {
	t.Parallel()
	f := testkit.StartForeign(t)
	f.Unvisited(t)
	for i, url := range []string{f.TLS.URL, f.Plain.URL} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/x", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer stolen")
		resp, err := f.TLS.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if log := f.Log(); len(log) != 2*(i+1) || !strings.Contains(log[2*i], "connection") || !strings.Contains(log[2*i+1], "stolen") {
			t.Errorf("%s: log %q", url, log)
		}
	}
}
