package app

import (
	"millrace/pkg/audit"
	"millrace/pkg/wire"
)

// NewMap returns the mapping of a configuration on its own, for tools that preview or check events. It must not be called
// concurrently. A refused record gives an error.
func NewMap(cfg Config) (func(audit.Record) ([]wire.Event, error), error) {
	mapper, err := newMapper(cfg)
	if err != nil {
		return nil, err
	}
	var digester audit.Digester
	return func(r audit.Record) ([]wire.Event, error) {
		digest, err := digester.Sum(r.Raw)
		if err != nil {
			return nil, err
		}
		mapped, err := mapper.Map(nil, r, digest)
		if err != nil {
			return nil, err
		}
		events := make([]wire.Event, len(mapped))
		for i, m := range mapped {
			events[i] = wire.Event{
				UID: m.UID, ClassUID: m.ClassUID, TypeUID: m.TypeUID, SeverityID: m.SeverityID, TimeMillis: m.TimeMillis,
				Workload: wire.WorkloadOf(m.RecordType, m.Workload, r.Domain, m.ClassUID), Value: m.Value,
			}
		}
		return events, nil
	}, nil
}
