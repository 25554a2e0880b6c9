package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"millrace/internal/service"
	"millrace/pkg/wire"
)

// row is one line of what -check has to say.
type row struct {
	Tenant  string `json:"tenant,omitempty"`
	Number  string `json:"number,omitempty"` // K1 to K12; "" = not a prerequisite at Microsoft
	What    string `json:"prerequisite"`
	State   string `json:"state"`
	Reading string `json:"reading,omitempty"`
	Remedy  string `json:"remedy,omitempty"`
}

// The states of a prerequisite.
const (
	stateOK      = "ok"
	stateFailed  = "FAILED"
	stateWarning = "warning" // the ingester runs, but not everything is as it should be
	stateUnknown = "unknown" // cannot be read from here
	stateWaived  = "waived"  // it failed, and the configuration says that it may
)

// Check looks at Kafka and at the prerequisites of every tenant and prints a table. It starts and changes nothing.
func Check(ctx context.Context, cfg Config, rt service.Runtime, w io.Writer) error {
	rows := inspect(ctx, cfg, rt)
	err := table(w, "TENANT NO PREREQUISITE STATE READING REMEDY", rows, func(r row) []string {
		return []string{orDash(r.Tenant), orDash(r.Number), r.What, r.State, r.Reading, r.Remedy}
	})
	if err != nil {
		return err
	}
	verdict := judge(rows)
	if verdict != nil {
		_, err = fmt.Fprintf(w, "%d of %d rows FAILED: follow their remedies\n", failures(rows), len(rows))
	}
	return errors.Join(err, verdict)
}

// CheckJSON is Check for a program to read: one JSON object a row.
func CheckJSON(ctx context.Context, cfg Config, rt service.Runtime, w io.Writer) error {
	rows := inspect(ctx, cfg, rt)
	return errors.Join(jsonLines(w, rows), judge(rows))
}

func judge(rows []row) error {
	if failures(rows) > 0 {
		return service.ErrReported
	}
	return nil
}

func failures(rows []row) (n int) {
	for _, r := range rows {
		if r.State == stateFailed {
			n++
		}
	}
	return n
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// inspectAtOnce is how many tenants are looked at side by side.
const inspectAtOnce = 8

// inspect makes the rows: Kafka's, then those of each tenant in the order of the configuration.
func inspect(ctx context.Context, cfg Config, rt service.Runtime) []row {
	rows := inspectKafka(ctx, cfg, rt)
	pools := transports{}
	defer pools.close()
	found := make([][]row, len(cfg.Tenants))
	slots := make(chan struct{}, inspectAtOnce) // one for each tenant that is looked at
	var wg sync.WaitGroup
	for i, t := range cfg.Tenants {
		c, err := t.connect(cfg.Limits, nil, pools)
		if err != nil {
			found[i] = []row{{Tenant: t.ID, What: "configuration", State: stateFailed, Reading: err.Error(), Remedy: fmt.Sprintf("correct tenants.%d", i)}}
			continue
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			found[i] = c.inspect(ctx, t)
		})
	}
	wg.Wait()
	for _, f := range found {
		rows = append(rows, f...)
	}
	return rows
}

func inspectKafka(ctx context.Context, cfg Config, rt service.Runtime) []row {
	findings, err := cfg.Kafka.Inspect(ctx, wire.StageIngester, rt.Log)
	if err != nil {
		return []row{{What: "kafka", State: stateFailed, Reading: strings.Join(cfg.Kafka.Brokers, ","), Remedy: err.Error()}}
	}
	var rows []row
	for _, f := range findings {
		r := row{What: f.About, State: stateOK, Reading: f.Text}
		if f.Warning {
			r.State = stateWarning
		}
		rows = append(rows, r)
	}
	return rows
}
