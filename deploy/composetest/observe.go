package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"
)

const dashboardFile = "../grafana/dashboards/batchagent.json"

// observed is the final state in Prometheus.
type observed struct {
	queries int      // queries of the dashboard, all answered
	alerts  []string // pending or firing
	fenced  string
}

func (o observed) print(w io.Writer) {
	fmt.Fprintf(w, "dashboard\t%d queries, each has an answer\n", o.queries)
	fmt.Fprintf(w, "alerts\t%s\n", strings.Join(o.alerts, ", "))
	fmt.Fprintf(w, "leases fenced\t%s\n", o.fenced)
}

// observe tests the alert rules and sends every query of the dashboard to Prometheus.
func (s *story) observe(ctx context.Context) (o observed, err error) {
	prometheus, err := s.container(ctx, "prometheus")
	if err != nil {
		return o, err
	}
	for _, args := range [][]string{
		{"check", "config", "/etc/prometheus/prometheus.yml"}, {"test", "rules", "/etc/prometheus/alerts_test.yml"},
	} {
		if err := s.run(ctx, "test the rules", append([]string{"docker", "exec", "-e", "TMPDIR=/prometheus", prometheus, "promtool"}, args...)...); err != nil {
			return o, err
		}
	}
	queries, err := dashboardQueries()
	if err != nil {
		return o, err
	}
	for _, q := range queries {
		// Query the recent past: the batch's series are already gone.
		values, err := s.query(ctx, "last_over_time(("+q+")[15m:5s])")
		if err != nil {
			return o, err
		}
		if len(values) == 0 {
			return o, fmt.Errorf("Prometheus has no answer to the dashboard's query %q", q)
		}
		o.queries++
	}
	firing, err := s.query(ctx, `ALERTS`)
	if err != nil {
		return o, err
	}
	for _, v := range firing {
		o.alerts = append(o.alerts, strings.TrimSpace(v.Metric["alertname"]+" "+v.Metric["node"])+" ("+v.Metric["alertstate"]+")")
	}
	slices.Sort(o.alerts)
	if !slices.ContainsFunc(o.alerts, func(a string) bool { return strings.HasPrefix(a, "BatchagentWorkerDown node-2 ") }) {
		return o, fmt.Errorf("worker-2 was killed, but no alert fired: %q", o.alerts)
	}
	fenced, err := s.query(ctx, `sum(max_over_time(batchagent_leases_fenced_total[1h]))`)
	if err == nil && len(fenced) == 1 {
		o.fenced = fmt.Sprint(fenced[0].Value[1])
	}
	return o, err
}

// served fetches the batch from the coordinator over HTTP, with and without the token, as programs and browsers do.
func (s *story) served(ctx context.Context) error {
	for path, has := range map[string]string{
		"/api/v1/batches/" + s.id: fmt.Sprintf(`"ok":%d`, s.jobs), "/": s.id, "/batches/" + s.id: "Timeline", "/workers": "node-4",
	} {
		for with, status := range map[string]int{token: http.StatusOK, "another": http.StatusUnauthorized} {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:"+s.ports.coordinator+path, nil)
			if err != nil {
				return err
			}
			req.Header.Set("Authorization", "Bearer "+with)
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				return fmt.Errorf("ask the coordinator: %w", err)
			}
			body, err := io.ReadAll(resp.Body)
			if err = errors.Join(err, resp.Body.Close()); err != nil {
				return fmt.Errorf("ask the coordinator: %w", err)
			}
			if resp.StatusCode != status || strings.Contains(string(body), has) != (status == http.StatusOK) {
				return fmt.Errorf("%s: unexpected answer %s: %s", path, resp.Status, tail(body))
			}
		}
	}
	return nil
}

// dashboardQueries returns the queries of every panel.
func dashboardQueries() ([]string, error) {
	text, err := os.ReadFile(dashboardFile)
	if err != nil {
		return nil, fmt.Errorf("read the dashboard: %w", err)
	}
	var d struct {
		Panels []struct{ Targets []struct{ Expr string } }
	}
	if err := json.Unmarshal(text, &d); err != nil {
		return nil, fmt.Errorf("%s: %w", dashboardFile, err)
	}
	var queries []string
	for _, p := range d.Panels {
		for _, t := range p.Targets {
			queries = append(queries, t.Expr)
		}
	}
	return queries, nil
}

type sample struct {
	Metric map[string]string
	Value  [2]any // time, and the value as text
}

func (s *story) query(ctx context.Context, expr string) ([]sample, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	address := "http://127.0.0.1:" + s.ports.prometheus + "/api/v1/query?query=" + url.QueryEscape(expr)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask Prometheus: %w", err)
	}
	defer resp.Body.Close()
	var answer struct {
		Error string
		Data  struct{ Result []sample }
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return nil, fmt.Errorf("ask Prometheus %q: %w", expr, err)
	}
	if answer.Error != "" {
		return nil, fmt.Errorf("ask Prometheus %q: %s", expr, answer.Error)
	}
	return answer.Data.Result, nil
}
