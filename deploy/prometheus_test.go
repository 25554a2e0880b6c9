package deploy_test

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// TestAlerts sees that every alert has its heading for the operator, and asks only for metrics that the code has.
func TestAlerts(t *testing.T) {
	t.Parallel()
	var rules struct {
		Groups []struct {
			Rules []struct {
				Alert       string            `yaml:"alert"`
				Expr        string            `yaml:"expr"`
				Labels      map[string]string `yaml:"labels"`
				Annotations map[string]string `yaml:"annotations"`
			} `yaml:"rules"`
		} `yaml:"groups"`
	}
	if err := yaml.Unmarshal([]byte(readFile(t, "prometheus/rules.yaml")), &rules); err != nil {
		t.Fatal(err)
	}
	operations := readFile(t, filepath.Join(root, "docs", "operations.md"))
	code := metricSources(t)
	alerts := rules.Groups[0].Rules
	for _, rule := range alerts {
		if !strings.Contains(operations, "\n### "+rule.Alert+"\n") {
			t.Errorf("docs/operations.md has no heading %s", rule.Alert)
		}
		if rule.Labels["severity"] == "" || rule.Annotations["summary"] == "" {
			t.Errorf("%s: want a severity and a summary", rule.Alert)
		}
		for _, name := range metricName.FindAllString(rule.Expr, -1) {
			if !namedIn(code, name) {
				t.Errorf("%s asks for %s, which no code makes", rule.Alert, name)
			}
		}
	}
	if headings := strings.Count(operations, "\n### Millrace"); headings != len(alerts) {
		t.Errorf("%d headings for %d alerts", headings, len(alerts))
	}
}

// TestDashboard sees that every panel has a title and asks only for metrics that the code has.
func TestDashboard(t *testing.T) {
	t.Parallel()
	var dashboard struct {
		Panels []struct {
			Title       string `json:"title"`
			Description string `json:"description"`
			Targets     []struct {
				Expr string `json:"expr"`
			} `json:"targets"`
		} `json:"panels"`
	}
	if err := json.Unmarshal([]byte(readFile(t, "grafana/millrace.json")), &dashboard); err != nil {
		t.Fatal(err)
	}
	if len(dashboard.Panels) == 0 {
		t.Fatal("no panels")
	}
	code := metricSources(t)
	for _, panel := range dashboard.Panels {
		if panel.Title == "" || panel.Description == "" || len(panel.Targets) == 0 {
			t.Errorf("panel %q: want a title, a description and a target", panel.Title)
		}
		for _, target := range panel.Targets {
			for _, name := range metricName.FindAllString(target.Expr, -1) {
				if !namedIn(code, strings.TrimSuffix(name, "_bucket")) {
					t.Errorf("panel %q asks for %s, which no code makes", panel.Title, name)
				}
			}
		}
	}
}

// metricName finds the names of our metrics in an expression.
var metricName = regexp.MustCompile(`\bmillrace_[a-z_]+`)

// namedIn tells whether code makes a metric: by its whole name, or by the part of it that follows namespace and subsystem.
func namedIn(code, name string) bool {
	for rest := name; ; {
		if strings.Contains(code, `"`+rest+`"`) {
			return true
		}
		_, after, ok := strings.Cut(rest, "_")
		if !ok || !strings.Contains(after, "_") {
			return false
		}
		rest = after
	}
}

// metricSources returns the text of all files that make metrics.
func metricSources(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != root && strings.HasPrefix(d.Name(), ".") {
			return filepath.SkipDir
		}
		if d.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(text), "prometheus.") {
			all.Write(text)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}
