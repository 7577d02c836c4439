package weixin

import (
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.yaml.in/yaml/v3"

	"github.com/caddy-weixin/caddy-weixin/internal/programtest"
)

const (
	dashboardFile  = "deploy/grafana-dashboard.json"
	rulesFile      = "deploy/prometheus-rules.yml"
	rulesTestsFile = "deploy/prometheus-rules_test.yml"
)

// The dashboard and the alert rules use metrics and labels that exist, and so
// do the rules' tests, which would prove nothing with others.
func TestDeployMetrics(t *testing.T) {
	metrics := registeredMetrics(t)
	for name, exprs := range map[string][]string{
		dashboardFile:  dashboardExprs(t),
		rulesFile:      ruleExprs(t),
		rulesTestsFile: ruleTestSeries(t),
	} {
		used, told := 0, make(map[string]bool)
		for _, expr := range exprs {
			used += len(metricsIn(expr))
			for _, problem := range checkExpr(expr, metrics) {
				if !told[problem] {
					t.Errorf("%s: %s\n%s", name, problem, expr)
				}
				told[problem] = true
			}
		}
		if used == 0 {
			t.Errorf("%s: no metric was found in it", name)
		}
	}
}

// checkExpr does find what is wrong.
func TestCheckExpr(t *testing.T) {
	metrics := map[string][]string{
		"caddy_weixin_a_total": {"account", "code"},
		"caddy_weixin_b":       {"account"},
	}
	for expr, want := range map[string]int{
		`caddy_weixin_a_total`: 0,
		`sum by (account) (rate(caddy_weixin_a_total{code="a)"}[5m]))`: 0,
		`sum by (le) (rate(caddy_weixin_b_bucket{account="x"}[5m]))`:   0,
		`sum(caddy_weixin_a_total) by (account, code)`:                 0,
		`label_values(caddy_weixin_a_total, account)`:                  0,
		`caddy_weixin_b and on (account) caddy_weixin_a_total`:         0,
		`account:caddy_weixin_c:increase1h`:                            0,
		`caddy_weixin_a`:                                               1,
		`caddy_weixin_b_total`:                                         1,
		`caddy_weixin_b{code="200"}`:                                   1,
		`caddy_weixin_b{account="x",code!~"200"}`:                      1,
		`sum by (account, code) (caddy_weixin_b)`:                      1,
		`sum(caddy_weixin_b) without (code)`:                           1,
		`sum by (le) (caddy_weixin_b)`:                                 1,
		`label_values(caddy_weixin_b, code)`:                           1,
		`caddy_weixin_b and on (code) caddy_weixin_b offset 1h`:        1,
		`caddy_weixin_c{code="1"} + caddy_weixin_d`:                    2,
	} {
		if got := checkExpr(expr, metrics); len(got) != want {
			t.Errorf("%s: %q, want %d problems", expr, got, want)
		}
	}
}

// Every alert says how bad it is and what to do, and is seen to fire and not to.
func TestDeployAlerts(t *testing.T) {
	fires, rests := make(map[string]bool), make(map[string]bool)
	for _, test := range parseYAML[ruleTests](t, rulesTestsFile).Tests {
		for _, alert := range test.Alerts {
			fires[alert.Name] = fires[alert.Name] || len(alert.Want) > 0
			rests[alert.Name] = rests[alert.Name] || len(alert.Want) == 0
		}
	}
	variable := regexp.MustCompile(`\$labels\.(\w+)`)
	seen := make(map[string]bool)
	for _, rule := range rules(t) {
		if rule.Alert == "" {
			continue
		}
		seen[rule.Alert] = true
		if rule.For == "" || rule.Labels["severity"] == "" || rule.Annotations["summary"] == "" || rule.Annotations["description"] == "" {
			t.Errorf("%s lacks one of for, severity, summary and description", rule.Alert)
		}
		if !fires[rule.Alert] || !rests[rule.Alert] {
			t.Errorf("%s is not tested to fire, and not to", rule.Alert)
		}
		for _, text := range rule.Annotations {
			for _, m := range variable.FindAllStringSubmatch(text, -1) {
				if !regexp.MustCompile(`\b` + m[1] + `\b`).MatchString(rule.Expr) {
					t.Errorf("%s: the label %s is not in the expression's result", rule.Alert, m[1])
				}
			}
		}
	}
	for name := range fires {
		if !seen[name] {
			t.Errorf("there is no alert %s to test", name)
		}
	}
}

func TestPromtool(t *testing.T) {
	programtest.Require(t, "promtool")
	for _, args := range [][]string{{"check", "rules", rulesFile}, {"test", "rules", rulesTestsFile}} {
		if out, err := exec.Command("promtool", args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// registeredMetrics returns the metrics that a configuration registers, with
// their labels.
func registeredMetrics(t *testing.T) map[string][]string {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	if err := registerMetrics(registry); err != nil {
		t.Fatal(err)
	}
	descs := make(chan *prometheus.Desc)
	go func() {
		registry.Describe(descs)
		close(descs)
	}()
	// A Desc tells its name and labels by its String method alone.
	form := regexp.MustCompile(`^Desc\{fqName: "(\w+)".* variableLabels: \{([^}]*)\}\}$`)
	metrics := make(map[string][]string)
	for desc := range descs {
		m := form.FindStringSubmatch(desc.String())
		if m == nil {
			t.Fatalf("no name and labels can be read from %s", desc)
		}
		metrics[m[1]] = labelList(m[2])
	}
	if len(metrics) == 0 {
		t.Fatal("no metrics are registered")
	}
	return metrics
}

var (
	// The names of recording rules have colons.
	metricName  = regexp.MustCompile(`[\w:]*\bcaddy_weixin_[\w:]*`)
	selector    = regexp.MustCompile(`^\s*\{((?:[^}"]|"(?:[^"\\]|\\.)*")*)\}`)
	matcher     = regexp.MustCompile(`(\w+)\s*(?:=~|!~|!=|=)\s*"(?:[^"\\]|\\.)*"`)
	grouping    = regexp.MustCompile(`\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^()]*)\)`)
	labelValues = regexp.MustCompile(`\blabel_values\(.*,\s*(\w+)\)$`)
	suffix      = regexp.MustCompile(`_(bucket|sum|count)$`)
)

// foundMetric is a metric in an expression, with the labels it is selected by.
type foundMetric struct {
	name   string
	labels []string
}

func metricsIn(expr string) []foundMetric {
	var found []foundMetric
	for _, at := range metricName.FindAllStringIndex(expr, -1) {
		m := foundMetric{name: expr[at[0]:at[1]]}
		if strings.Contains(m.name, ":") {
			continue
		}
		if braces := selector.FindStringSubmatch(expr[at[1]:]); braces != nil {
			for _, match := range matcher.FindAllStringSubmatch(braces[1], -1) {
				m.labels = append(m.labels, match[1])
			}
		}
		found = append(found, m)
	}
	return found
}

// checkExpr returns what is wrong with the names in a PromQL expression. A label
// to group by has to be one of some metric in the expression.
func checkExpr(expr string, metrics map[string][]string) (problems []string) {
	known := []string{"account"} // recorded counts have it too
	unknown := false
	for _, m := range metricsIn(expr) {
		labels, ok := metrics[m.name]
		// A histogram is queried by the names of its parts.
		if base := suffix.ReplaceAllString(m.name, ""); !ok && base != m.name {
			if labels, ok = metrics[base]; ok && strings.HasSuffix(m.name, "_bucket") {
				labels = append(slices.Clip(labels), "le")
			}
		}
		if !ok {
			problems = append(problems, "there is no metric "+m.name)
			unknown = true
			continue
		}
		known = append(known, labels...)
		for _, label := range m.labels {
			// What Prometheus adds.
			if !slices.Contains(labels, label) && label != "instance" && label != "job" {
				problems = append(problems, m.name+" has no label "+label)
			}
		}
	}
	if unknown {
		return problems
	}
	for _, group := range append(grouping.FindAllStringSubmatch(expr, -1), labelValues.FindAllStringSubmatch(expr, -1)...) {
		for _, label := range labelList(group[1]) {
			if !slices.Contains(known, label) {
				problems = append(problems, "no metric in it has a label "+label)
			}
		}
	}
	return problems
}

func labelList(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
}

// dashboardExprs returns the queries of the dashboard's panels and variables.
func dashboardExprs(t *testing.T) []string {
	t.Helper()
	data, err := os.ReadFile(dashboardFile)
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		UID    string `json:"uid"`
		Panels []struct {
			ID                       int
			Type, Title, Description string
			Targets                  []struct{ Expr, LegendFormat string }
		}
		Templating struct {
			List []struct {
				Name  string
				Query any
			}
		}
	}
	if err := json.Unmarshal(data, &dashboard); err != nil {
		t.Fatalf("%s: %v", dashboardFile, err)
	}
	if dashboard.UID == "" {
		t.Error("without a uid every import makes another dashboard")
	}
	var exprs []string
	ids := make(map[int]bool)
	legendLabel := regexp.MustCompile(`\{\{(\w+)\}\}`)
	for _, panel := range dashboard.Panels {
		if ids[panel.ID] {
			t.Errorf("two panels have the id %d", panel.ID)
		}
		ids[panel.ID] = true
		if panel.Type == "row" {
			continue
		}
		if panel.Description == "" || len(panel.Targets) == 0 {
			t.Errorf("the panel %q has no description, or no query", panel.Title)
		}
		for _, target := range panel.Targets {
			exprs = append(exprs, target.Expr)
			for _, m := range legendLabel.FindAllStringSubmatch(target.LegendFormat, -1) {
				if !regexp.MustCompile(`\bby \([^)]*\b` + m[1] + `\b`).MatchString(target.Expr) {
					t.Errorf("%s: the label %s of the legend is not in the result", panel.Title, m[1])
				}
			}
		}
	}
	for _, variable := range dashboard.Templating.List {
		if query, ok := variable.Query.(map[string]any); ok {
			text, _ := query["query"].(string)
			exprs = append(exprs, text)
		}
	}
	return exprs
}

type rule struct {
	Alert       string
	Expr        string
	For         string
	Labels      map[string]string
	Annotations map[string]string
}

func rules(t *testing.T) []rule {
	t.Helper()
	var all []rule
	for _, group := range parseYAML[struct{ Groups []struct{ Rules []rule } }](t, rulesFile).Groups {
		all = append(all, group.Rules...)
	}
	return all
}

func ruleExprs(t *testing.T) []string {
	t.Helper()
	var exprs []string
	for _, rule := range rules(t) {
		exprs = append(exprs, rule.Expr)
	}
	return exprs
}

// ruleTests is what promtool takes.
type ruleTests struct {
	Tests []struct {
		Series []struct{ Series string } `yaml:"input_series"`
		Alerts []struct {
			Name string `yaml:"alertname"`
			Want []any  `yaml:"exp_alerts"`
		} `yaml:"alert_rule_test"`
	}
}

func ruleTestSeries(t *testing.T) []string {
	t.Helper()
	var series []string
	for _, test := range parseYAML[ruleTests](t, rulesTestsFile).Tests {
		for _, s := range test.Series {
			series = append(series, s.Series)
		}
	}
	return series
}

func parseYAML[T any](t *testing.T, name string) (parsed T) {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(data, &parsed); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return parsed
}
