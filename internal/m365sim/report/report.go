// Package report counts what audit records look like, so that invented ones can be held beside real ones.
package report

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// Column is the counts of one source of records.
type Column struct {
	name    string
	records int
	counts  map[string]map[string]int // what is counted → value → records
	sizes   []int
}

// New returns an empty column.
func New(name string) *Column { return &Column{name: name, counts: map[string]map[string]int{}} }

// maxLine is the longest line that AddFile reads.
const maxLine = 64 << 20

// AddFile counts the records of an NDJSON file.
func (c *Column) AddFile(name string) (err error) {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	lines := bufio.NewScanner(f)
	lines.Buffer(make([]byte, 1<<20), maxLine)
	for lines.Scan() {
		if len(lines.Bytes()) > 0 {
			c.Add(lines.Bytes())
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	return nil
}

// Add counts one record.
func (c *Column) Add(raw []byte) {
	c.records++
	c.sizes = append(c.sizes, len(raw))
	var r map[string]json.RawMessage
	if err := json.Unmarshal(raw, &r); err != nil {
		c.count("shape", "no JSON object")
		return
	}
	c.count("shape", "object")
	c.count("workload", text(r["Workload"]))
	c.count("record type", text(r["RecordType"]))
	c.count("operation", text(r["Operation"]))
	c.count("user type", text(r["UserType"]))
	c.count("result status", text(r["ResultStatus"]))
	c.count("ClientIP", address(r["ClientIP"]))
	c.count("UserId", user(text(r["UserId"])))
	c.count("members", strconv.Itoa(len(r)/5*5)+"+")
	for _, k := range []string{"Id", "CreationTime", "OrganizationId", "Version"} {
		if len(r[k]) == 0 {
			c.count("missing", k)
		}
	}
}

func (c *Column) count(what, value string) {
	if c.counts[what] == nil {
		c.counts[what] = map[string]int{}
	}
	c.counts[what][value]++
}

// Distinct returns how many values of one kind there are.
func (c *Column) Distinct(what string) int { return len(c.counts[what]) }

// Count returns how many records have a value.
func (c *Column) Count(what, value string) int { return c.counts[what][value] }

func text(v json.RawMessage) string {
	var s string
	switch {
	case len(v) == 0:
		return "(absent)"
	case json.Unmarshal(v, &s) == nil && string(v) != "null":
		return s
	}
	return string(v)
}

// address names the form of an address without telling it.
func address(v json.RawMessage) string {
	switch s := text(v); {
	case s == "(absent)" || s == "null":
		return s
	case s == "":
		return "empty"
	case strings.HasPrefix(s, "["):
		return "[v6]:port"
	case strings.HasPrefix(strings.ToLower(s), "::ffff:"):
		return "::ffff:v4"
	case strings.HasPrefix(strings.ToLower(s), "ffff:"):
		return "ffff:v4"
	case strings.Count(s, ":") > 1:
		return "v6"
	case strings.Contains(s, ":"):
		return "v4:port"
	}
	return "v4"
}

// user names the form of a user id without telling it.
func user(s string) string {
	switch {
	case s == "(absent)" || s == "":
		return "empty or absent"
	case strings.HasPrefix(s, "urn:"):
		return "urn"
	case strings.Contains(s, "#EXT#"):
		return "guest"
	case strings.HasPrefix(s, "app@"):
		return "app"
	case strings.Contains(s, "@"):
		return "address"
	case strings.Contains(s, `\`):
		return "domain account"
	case strings.HasPrefix(s, "ServicePrincipal_"):
		return "service principal"
	case strings.HasPrefix(s, "S-1-"):
		return "SID"
	case len(s) == 36 && strings.Count(s, "-") == 4:
		return "GUID"
	}
	return "name"
}

// percentile returns the size below which a share of the records lies.
func (c *Column) percentile(p int) int {
	if len(c.sizes) == 0 {
		return 0
	}
	return c.sizes[(len(c.sizes)-1)*p/100]
}

// shownValues is how many values of each kind the report shows.
const shownValues = 25

// Write prints columns side by side: counts by value, the most frequent of the first column on top, and percentiles of size.
func Write(w io.Writer, columns ...*Column) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	line := func(name string, value func(*Column) string) {
		for _, c := range columns {
			fmt.Fprintf(tw, "%s\t", value(c))
		}
		fmt.Fprintf(tw, " %s\n", name)
	}
	line("", func(c *Column) string { return c.name })
	line("records", func(c *Column) string { return strconv.Itoa(c.records) })
	for _, c := range columns {
		slices.Sort(c.sizes)
	}
	for _, p := range []int{1, 25, 50, 75, 99, 100} {
		line(fmt.Sprintf("bytes, percentile %d", p), func(c *Column) string { return strconv.Itoa(c.percentile(p)) })
	}
	for _, what := range []string{"workload", "record type", "operation", "user type", "result status", "ClientIP", "UserId", "members", "missing", "shape"} {
		line("", func(*Column) string { return "" })
		line(what+", distinct", func(c *Column) string { return strconv.Itoa(c.Distinct(what)) })
		for i, v := range values(columns, what) {
			if i == shownValues {
				break
			}
			line("  "+what+" "+v, func(c *Column) string {
				return fmt.Sprintf("%.2f%%", 100*float64(c.counts[what][v])/float64(max(c.records, 1)))
			})
		}
	}
	return tw.Flush()
}

// values returns the values of one kind that any column has, the most frequent of the first column first.
func values(columns []*Column, what string) []string {
	all := map[string]bool{}
	for _, c := range columns {
		for v := range c.counts[what] {
			all[v] = true
		}
	}
	out := slices.Collect(maps.Keys(all))
	slices.SortFunc(out, func(a, b string) int {
		for _, c := range columns {
			if d := cmp.Compare(c.counts[what][b], c.counts[what][a]); d != 0 {
				return d
			}
		}
		return strings.Compare(a, b)
	})
	return out
}
