package wire

import (
	"encoding/csv"
	"fmt"
	"strconv"
	"sync"

	"millrace/pkg/audit"
	"millrace/schemas"
)

// DomainOf is the domain of a record that came without a content type, from an exported file: dlp if its record type is one of
// DLP matches, else audit.
func DomainOf(recordType int) audit.Domain {
	if dlpTypes()[recordType] {
		return audit.DomainDLP
	}
	return audit.DomainAudit
}

// dlpTypes holds the record types that the mapping makes Data Security Findings of.
var dlpTypes = sync.OnceValue(func() map[int]bool {
	types, err := readDLPTypes()
	if err != nil {
		panic(err) // the table is part of the binary
	}
	return types
})

func readDLPTypes() (map[int]bool, error) {
	f, err := schemas.OCSF.Open("ocsf/recordtypes.csv")
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("recordtypes.csv: %w", err)
	}
	types := map[int]bool{}
	for i, row := range rows[1:] { // record_type, name, class, …
		if row[2] != strconv.Itoa(classDataSecurityFinding) {
			continue
		}
		n, err := strconv.Atoi(row[0])
		if err != nil {
			return nil, fmt.Errorf("recordtypes.csv: row %d: %w", i+2, err)
		}
		types[n] = true
	}
	return types, nil
}
