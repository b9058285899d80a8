// Command grafana replaces Grafana if its image cannot be pulled. It reads Grafana's provisioning files and exits with 1 if one
// is missing or malformed. Otherwise it answers Grafana's health check. It has no user interface.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/goccy/go-yaml"
)

const provisioning = "/etc/grafana/provisioning"

func main() {
	if err := check(); err != nil {
		fmt.Fprintln(os.Stderr, "grafana (stand-in):", err)
		os.Exit(1)
	}
	http.HandleFunc("GET /api/health", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"database":"ok"}`)) })
	server := &http.Server{Addr: ":3000", ReadHeaderTimeout: 5 * time.Second}
	fmt.Fprintln(os.Stderr, "grafana (stand-in):", server.ListenAndServe())
	os.Exit(1)
}

// check reads the data sources, the providers and the dashboards. Each panel must use an existing data source.
func check() error {
	var sources struct {
		Datasources []struct{ UID, Type, URL string }
	}
	if err := read("datasources", &sources); err != nil {
		return err
	}
	var uids []string
	for _, s := range sources.Datasources {
		uids = append(uids, s.UID)
	}
	var providers struct {
		Providers []struct {
			Type    string
			Options struct{ Path string }
		}
	}
	if err := read("dashboards", &providers); err != nil {
		return err
	}
	found := 0
	for _, p := range providers.Providers {
		files, err := filepath.Glob(p.Options.Path + "/*.json")
		if err != nil {
			return err
		}
		for _, file := range files {
			found++
			if err := dashboard(file, uids); err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
		}
	}
	if found == 0 {
		return errors.New("no provider leads to a dashboard")
	}
	return nil
}

func read(kind string, into any) error {
	files, err := filepath.Glob(filepath.Join(provisioning, kind, "*.yml"))
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return fmt.Errorf("%s/%s has no .yml file", provisioning, kind)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if err := yaml.Unmarshal(text, into); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	return nil
}

func dashboard(file string, uids []string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var d struct {
		UID, Title string
		Panels     []struct {
			Title, Type string
			Datasource  *struct{ UID string }
			Targets     []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &d); err != nil {
		return err
	}
	if d.UID == "" || d.Title == "" || len(d.Panels) == 0 {
		return errors.New("it needs a uid, a title and panels")
	}
	for _, p := range d.Panels {
		if p.Type == "row" || p.Type == "text" {
			continue
		}
		if p.Datasource == nil || !slices.Contains(uids, p.Datasource.UID) {
			return fmt.Errorf("the panel %q uses none of the data sources %v", p.Title, uids)
		}
		if len(p.Targets) == 0 {
			return fmt.Errorf("the panel %q has no query", p.Title)
		}
	}
	return nil
}
