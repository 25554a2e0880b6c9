package directory

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"millrace/internal/testkit"
	"millrace/pkg/audit"
	"millrace/pkg/kafkatx"
)

// topic is a Follower that a test feeds.
type topic struct {
	stored []kafkatx.Record
	later  chan kafkatx.Record
	fail   error // how Tail ends when later is closed
}

func (f *topic) Tail(ctx context.Context, name string, fn func(kafkatx.Record) error, caughtUp func()) error {
	if name != "directory" {
		return fmt.Errorf("asked for topic %q", name)
	}
	for i, r := range f.stored {
		r.Offset = int64(i)
		if err := fn(r); err != nil {
			return err
		}
	}
	caughtUp()
	for n := len(f.stored); ; n++ {
		select {
		case r, ok := <-f.later:
			if !ok {
				return f.fail
			}
			r.Offset = int64(n)
			if err := fn(r); err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func object(kind, id, value string) kafkatx.Record {
	r := kafkatx.Record{Key: []byte(string(tenant) + ":" + kind + ":" + id)}
	if value != "" {
		r.Value = []byte(value)
	}
	return r
}

func complete() kafkatx.Record {
	return kafkatx.Record{Key: []byte(string(tenant) + ":complete"), Value: []byte(`{"version":"1","at":"2026-03-02T09:00:00Z","objects":3}`)}
}

func startLoader(t *testing.T, cfg Config, f *topic) (l *Loader, stop func() error) {
	t.Helper()
	cfg.Topic = "directory"
	l = NewLoader(cfg, f, testkit.Logger(t), nil)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	return l, func() error { cancel(); return <-done }
}

func TestLoaderFollows(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &topic{later: make(chan kafkatx.Record), stored: []kafkatx.Record{
			object("user", strings.ToUpper(objectID(1)), `{"id":"1","user_principal_name":"Ada@example.org","account_enabled":true,"roles":["Z","A"],"proxy_addresses":["SMTP:ada.l@example.org","sip:x@example.org"],"manager_id":"`+objectID(2)+`"}`),
			object("group", objectID(5), `{"id":"5","display_name":"Staff","group_types":["Unified"],"members":["`+strings.ToUpper(objectID(1))+`",""]}`),
			object("serviceprincipal", objectID(6), `{"id":"6","app_id":"APP","display_name":"Tool","verified_publisher":"P"}`),
			object("domain", "Example.org", `{"id":"example.org","is_default":true}`),
			object("user", objectID(9), `{"id":9}`),
			object("user", objectID(9), `no json`),
			object("user", "", `{}`),
			object("novelty", "1", `{}`),
			{Key: []byte("no tenant:user:1"), Value: []byte(`{}`)},
			{},
			complete(),
		}}
		l, stop := startLoader(t, Config{Wait: time.Hour}, f)
		if err := l.Await(t.Context()); err != nil {
			t.Fatal(err)
		}
		s := l.Snapshot().Tenant(tenant)
		u := s.UserByName([]byte("ada.l@example.org"))
		if u == nil || u.ID != objectID(1) || u.Enabled != Yes || u.OnPremisesSync != Unknown || strings.Join(u.Roles, "") != "AZ" || u.ManagerID != objectID(2) {
			t.Fatalf("user %+v", u)
		}
		if s.UserByName([]byte("x@example.org")) != nil {
			t.Error("a sip address names a user")
		}
		if g := s.GroupsOf(u); len(g) != 1 || g[0].Type != "Microsoft 365" {
			t.Errorf("groups %+v", g)
		}
		if a := s.App([]byte("app")); a == nil || a.Verified != "P" {
			t.Errorf("app %+v", a)
		}
		if managed, _ := s.Domains([]byte("example.org")); !managed || !s.Complete() || s.Version() != "0/10" {
			t.Errorf("domain %v, complete %v, version %s", managed, s.Complete(), s.Version())
		}

		f.later <- object("user", objectID(1), "")
		f.later <- object("group", objectID(5), "null")
		f.later <- object("serviceprincipal", objectID(6), "")
		f.later <- object("domain", "example.org", "")
		f.later <- kafkatx.Record{Key: []byte(string(tenant) + ":complete")}
		time.Sleep(2 * publishEvery)
		next := l.Snapshot().Tenant(tenant)
		if _, known := next.Domains([]byte("example.org")); known || next.UserByID([]byte(objectID(1))) != nil || next.App([]byte("app")) != nil || next.Complete() {
			t.Error("removed objects are still there")
		}
		if s.UserByID([]byte(objectID(1))) != u {
			t.Error("an older snapshot changed")
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestLoaderWaits(t *testing.T) {
	t.Parallel()
	other := audit.TenantID(strings.Replace(string(tenant), "1", "2", 1))
	tests := []struct {
		name   string
		cfg    Config
		stored []kafkatx.Record
		after  time.Duration // when the gate opens
	}{
		{"nothing, no wait", Config{}, nil, 0},
		{"nothing", Config{Wait: time.Minute}, nil, time.Minute},
		{"complete", Config{Wait: time.Minute}, []kafkatx.Record{complete()}, 0},
		{"one of two", Config{Wait: time.Minute}, []kafkatx.Record{complete(), {Key: []byte(string(other) + ":domain:example.net"), Value: []byte("{}")}}, time.Minute},
		{"the configured one of two", Config{Wait: time.Minute, Tenants: []audit.TenantID{tenant}}, []kafkatx.Record{complete(), {Key: []byte(string(other) + ":domain:example.net"), Value: []byte("{}")}}, 0},
		{"not the configured one", Config{Wait: time.Minute, Tenants: []audit.TenantID{other}}, []kafkatx.Record{complete()}, time.Minute},
	}
	for _, tt := range tests {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			l, stop := startLoader(t, tt.cfg, &topic{stored: tt.stored})
			synctest.Wait()
			if err := l.Ready(); (err == nil) != (tt.after == 0) {
				t.Errorf("%s: Ready at the start: %v", tt.name, err)
			}
			if err := l.Await(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := time.Since(start); got != tt.after {
				t.Errorf("%s: opened after %v, want %v", tt.name, got, tt.after)
			}
			if err := l.Ready(); err != nil {
				t.Errorf("%s: Ready: %v", tt.name, err)
			}
			if err := stop(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestLoaderEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("broken")
		f := &topic{later: make(chan kafkatx.Record), fail: broken}
		close(f.later)
		_, stop := startLoader(t, Config{Wait: time.Hour}, f)
		synctest.Wait()
		if err := stop(); !errors.Is(err, broken) {
			t.Errorf("err = %v, want the cause", err)
		}
		l := NewLoader(Config{Wait: time.Hour}, f, testkit.Logger(t), nil)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := l.Await(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Await: %v", err)
		}
	})
}

func FuzzApply(f *testing.F) {
	for _, r := range []kafkatx.Record{object("user", objectID(1), `{"id":"1","proxy_addresses":["a:b"]}`), object("group", objectID(2), `{"members":["x"]}`), complete(), {}} {
		f.Add(r.Key, r.Value)
	}
	f.Fuzz(func(_ *testing.T, key, value []byte) {
		d := NewDraft()
		for range 2 {
			_, _ = d.apply(kafkatx.Record{Key: key, Value: value})
			d.Publish()
		}
		_, _ = d.apply(kafkatx.Record{Key: key})
	})
}
