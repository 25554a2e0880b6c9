package app

import (
	"bytes"
	"context"
	"errors"

	"millrace/internal/service"
	"millrace/normalizer/internal/mapping"
	"millrace/normalizer/internal/normalize"
	"millrace/pkg/audit"
)

// ProgramWithDefect is the program with a mapping that fails for records with a text in them.
func ProgramWithDefect(defect string) service.Program[Config] {
	p := Program()
	p.New = func(ctx context.Context, cfg Config, rt service.Runtime) (service.Component, error) {
		mapper, err := newMapper(cfg)
		if err != nil {
			return nil, err
		}
		return build(ctx, cfg, rt, defective{mapper, []byte(defect)})
	}
	return p
}

// defective is a mapping with a bug.
type defective struct {
	normalize.Mapper
	defect []byte
}

func (m defective) Map(dst []mapping.Event, rec audit.Record, digest uint64) ([]mapping.Event, error) {
	if bytes.Contains(rec.Raw, m.defect) {
		return dst, errors.New("a defect of the test")
	}
	return m.Mapper.Map(dst, rec, digest)
}
