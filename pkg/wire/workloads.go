package wire

import (
	"encoding/csv"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"millrace/pkg/audit"
	"millrace/schemas"
)

// workloadTable is schemas/workloads.csv: a row with both a record type and a workload wins over one with the record type only,
// which wins over one with the workload only.
type workloadTable struct {
	both       map[typeAndWorkload]audit.Workload
	byType     map[int]audit.Workload
	byWorkload map[string]audit.Workload
}

type typeAndWorkload struct {
	recordType int
	workload   string
}

var workloads = sync.OnceValue(func() workloadTable {
	t, err := readWorkloads()
	if err != nil {
		panic(err) // the table is part of the binary
	}
	return t
})

func readWorkloads() (workloadTable, error) {
	t := workloadTable{both: map[typeAndWorkload]audit.Workload{}, byType: map[int]audit.Workload{}, byWorkload: map[string]audit.Workload{}}
	f, err := schemas.FS.Open("workloads.csv")
	if err != nil {
		return t, err
	}
	defer func() { _ = f.Close() }()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		return t, fmt.Errorf("workloads.csv: %w", err)
	}
	for i, row := range rows[1:] {
		workload, topic := strings.ToLower(row[1]), audit.Workload(row[2])
		if row[0] == "" {
			t.byWorkload[workload] = topic
			continue
		}
		n, err := strconv.Atoi(row[0])
		if err != nil {
			return t, fmt.Errorf("workloads.csv: row %d: %w", i+2, err)
		}
		if workload == "" {
			t.byType[n] = topic
		} else {
			t.both[typeAndWorkload{n, workload}] = topic
		}
	}
	return t, nil
}

// classDataSecurityFinding is the OCSF class of DLP matches, which stay on topics of their own.
const classDataSecurityFinding = 2006

// WorkloadOf decides the events topic of a record by its own RecordType and Workload, never by the content type of its blob: DLP
// content and Data Security Findings go to dlp, what the table does not know goes to other.
func WorkloadOf(recordType int, workload string, domain audit.Domain, classUID int) audit.Workload {
	if domain == audit.DomainDLP || classUID == classDataSecurityFinding {
		return audit.WorkloadDLP
	}
	t := workloads()
	workload = strings.ToLower(workload)
	if w, ok := t.both[typeAndWorkload{recordType, workload}]; ok {
		return w
	}
	if w, ok := t.byType[recordType]; ok {
		return w
	}
	if w, ok := t.byWorkload[workload]; ok {
		return w
	}
	return audit.WorkloadOther
}
