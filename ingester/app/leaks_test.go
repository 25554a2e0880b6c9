package app

import (
	"errors"
	"flag"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"millrace/internal/m365sim"
	"millrace/internal/m365sim/tenant"
)

// TestMain lets more tests run side by side than there are processors: they wait far more than they work.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "4"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// hidden is what no output may show: the credentials of the suite, and the people and machines of the tenants.
type hidden struct {
	words []string            // searched for as they are
	exact map[string]struct{} // addresses, searched for as a whole
}

// address matches addresses of people, none of which any output may show, and of machines.
var address = regexp.MustCompile(`([\w.+'#-]+@[\w-]+\.[\w.-]+)|(\d{1,3}(?:\.\d{1,3}){3}|[0-9a-fA-F]{1,4}(?::[0-9a-fA-F]{0,4}){3,7})`)

func suiteSecrets() []string {
	return []string{m365sim.DefaultClientSecret, "swordfish", "old-secret", "new-secret", "eyJ", "BEGIN PRIVATE KEY", "Bearer "}
}

// enough is as many records as are searched for addresses: a tenant of benchmarks has many more of the same people.
const enough = 3000

var errEnough = errors.New("enough")

// peopleOf collects what the tenants of a simulator have of people: display names, and every address that stands in a record.
func peopleOf(t testing.TB, sim *m365sim.Server) hidden {
	k := hidden{words: suiteSecrets(), exact: make(map[string]struct{})}
	for _, st := range sim.Tenants() {
		n := 0
		users := st.Users()
		for _, u := range users[:min(len(users), 50)] {
			k.words = append(k.words, u.DisplayName, u.UPN)
		}
		err := st.Blobs(t.Context(), time.Time{}, func(b tenant.Blob) error {
			for _, r := range b.Records {
				for _, m := range address.FindAllSubmatch(r, -1) {
					if ip := string(m[2]); ip != "" && !strings.HasPrefix(ip, "127.") {
						k.exact[ip] = struct{}{}
					}
				}
			}
			if n += len(b.Records); n > enough {
				return errEnough
			}
			return nil
		})
		if err != nil && !errors.Is(err, errEnough) {
			t.Error(err)
		}
	}
	return k
}

// leaks names what of it is in a text.
func (k hidden) leaks(text string) (found []string) {
	for _, w := range k.words {
		if w != "" && strings.Contains(text, w) {
			found = append(found, w)
		}
	}
	for _, m := range address.FindAllStringSubmatch(text, -1) {
		if _, is := k.exact[m[2]]; is || m[1] != "" {
			found = append(found, m[0])
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// discreet fails the test if its logs, which are written at debug level, or its metrics show what they must not.
func (w *world) discreet(k hidden) {
	w.t.Helper()
	for _, found := range k.leaks(w.logs.String()) {
		w.t.Errorf("the log shows %q", found)
	}
	for _, r := range w.registries {
		families, err := r.Gather()
		if err != nil {
			w.t.Error(err)
		}
		for _, f := range families {
			if found := k.leaks(f.String()); len(found) > 0 {
				w.t.Errorf("the metric %s shows %q", f.GetName(), found)
			}
		}
	}
}

// TestLeaksAreFound: a search that finds nothing must mean that there is nothing.
func TestLeaksAreFound(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 300, nil)
	k := peopleOf(t, w.sim)
	user := w.sim.Tenants()[0].Users()[3]
	if len(k.exact) < 5 {
		t.Errorf("the tenant has %d addresses of machines", len(k.exact))
	}
	for ip := range k.exact {
		if got := k.leaks(`{"msg":"a caller at ` + ip + ` was refused"}`); !slices.Equal(got, []string{ip}) {
			t.Errorf("%s was not found: %q", ip, got)
		}
	}
	for _, secret := range []string{user.UPN, user.DisplayName, "somebody.else@corp.example.org", m365sim.DefaultClientSecret, "eyJ0eXAi"} {
		if len(k.leaks("x "+secret+" y")) == 0 {
			t.Errorf("%q was not found", secret)
		}
	}
	if got := k.leaks(`{"time":"2026-11-24T19:44:42.7Z","err":"dial tcp 127.0.0.1:9092: refused","topic":"m365.raw.general.v1","at":"m365.raw/0@12"}`); got != nil {
		t.Errorf("found %q in nothing", got)
	}
	rt := w.runtime()
	bad := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "x_total", Help: "x"}, []string{"user"})
	rt.Registry.MustRegister(bad)
	bad.WithLabelValues(user.UPN).Inc()
	families, err := rt.Registry.Gather()
	if err != nil || len(k.leaks(families[0].String())) == 0 {
		t.Errorf("a label was not found: %v", err)
	}
	w.registries = nil // the one above is meant to be bad
}
