package offline

import (
	"fmt"

	"millrace/pkg/ocsf"
)

// validate reports what is wrong with an event. Warnings are written too; only errors fail the run.
func (r *Run) validate(name string, at place, event []byte) error {
	valid := true
	for _, p := range ocsf.Validate(event) {
		if !p.Warning {
			valid, r.failed = false, true
		}
		if _, err := fmt.Fprintf(r.errs, "%s:%s: %s\n", name, at, p); err != nil {
			return err
		}
	}
	if !valid {
		r.counts.invalid++
	}
	return nil
}
