package app

import (
	"fmt"
	"reflect"

	"millrace/ingester/internal/source"
	"millrace/pkg/audit"
	"millrace/pkg/m365"
)

// roster is the tenants of a running ingester with what each was made from. It is used by one goroutine at a time.
type roster struct {
	cfg     Config // without its tenants: what a reload does not change
	metrics *m365.Metrics
	pools   transports
	tenants map[audit.TenantID]entered
}

type entered struct {
	cfg    Tenant
	c      *connection
	source *source.Tenant
}

func newRoster(cfg Config, metrics *m365.Metrics) *roster {
	cfg.Tenants = nil
	return &roster{cfg: cfg, metrics: metrics, pools: transports{}, tenants: make(map[audit.TenantID]entered)}
}

// take makes the sources' view of a list of tenants. One that has not changed keeps its place, and with it its connections, tokens and
// streams. After an error nothing has changed.
func (r *roster) take(tenants []Tenant) ([]*source.Tenant, error) {
	next := make(map[audit.TenantID]entered)
	list := make([]*source.Tenant, 0, len(tenants))
	for i, t := range tenants {
		id, err := audit.ParseTenantID(t.ID)
		if err != nil {
			return nil, fmt.Errorf("tenants.%d.id: %w", i, err)
		}
		e, known := r.tenants[id]
		if !known || !reflect.DeepEqual(e.cfg, t) {
			e = entered{cfg: t}
			if e.c, err = t.connect(r.cfg.Limits, r.metrics, r.pools); err != nil {
				return nil, fmt.Errorf("tenants.%d.%w", i, err)
			}
			if e.source, err = e.c.source(t); err != nil {
				return nil, fmt.Errorf("tenants.%d.%w", i, err)
			}
		}
		next[id] = e
		list = append(list, e.source)
	}
	r.tenants = next
	return list, nil
}

// connections are those of the tenants that are not paused.
func (r *roster) connections() []*connection {
	var out []*connection
	for _, e := range r.tenants {
		if !e.cfg.Paused {
			out = append(out, e.c)
		}
	}
	return out
}

// Reload takes the tenants of a new, validated configuration: added ones start, changed ones start anew with what is committed, paused and removed
// ones end. Everything else of it waits for a restart.
func (a *App) Reload(cfg Config) error {
	list, err := a.tenants.take(cfg.Tenants)
	if err != nil {
		return err
	}
	if err := a.sources.SetTenants(list); err != nil {
		return err
	}
	a.log.Info("the changed list of tenants is in use", "tenants", len(list))
	if cfg.Tenants = nil; !reflect.DeepEqual(cfg, a.tenants.cfg) {
		a.log.Warn("other changes of the configuration than of its tenants wait for a restart")
	}
	return nil
}
