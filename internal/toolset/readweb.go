package toolset

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/batchagent/batchagent/pkg/strictyaml"
	"github.com/batchagent/batchagent/pkg/toolpool/builtin"
)

func (l *loader) httpGet(field string, n strictyaml.Node) {
	if l.IsBool(n) {
		on, _ := l.Bool(field, n)
		l.file.noGet = !on
		return
	}
	l.Fields(field, n,
		strictyaml.Field{Name: "allow_hosts", Read: l.hosts(&l.file.get.AllowHosts)},
		strictyaml.Field{Name: "allow_networks", Read: func(field string, n strictyaml.Node) {
			l.List(field, n, func(field string, n strictyaml.Node) {
				text, ok := l.Text(field, n)
				p, valid := prefix(text)
				if ok && !valid {
					l.Failf(n, field, "must be a network such as 10.1.0.0/16 or an address, not %q", text)
				}
				l.file.get.AllowNetworks = append(l.file.get.AllowNetworks, p)
			})
		}},
	)
}

// hostPattern matches a host name or an IPv4 address. IPv6 addresses are recognised by their form.
var hostPattern = regexp.MustCompile(`^(\*\.)?[\pL\pN_]([\pL\pN_.-]*[\pL\pN_])?$`)

// hosts reads the allowed hosts. It refuses an empty list, which would mean no limit.
func (l *loader) hosts(to *[]string) func(string, strictyaml.Node) {
	return func(field string, n strictyaml.Node) {
		entries := 0
		l.List(field, n, func(field string, n strictyaml.Node) {
			entries++
			var host string
			l.text(&host)(field, n)
			if _, err := netip.ParseAddr(host); err != nil && !hostPattern.MatchString(host) {
				l.Failf(n, field, "must be a host such as example.com, or *.example.com for all below it, without scheme, port or path")
			}
			*to = append(*to, host)
		})
		if entries == 0 && l.IsList(n) {
			l.Failf(n, field, "is empty: name the hosts, or set http_get: false")
		}
	}
}

func (l *loader) webSearch(field string, n strictyaml.Node) {
	if l.IsBool(n) {
		on, _ := l.Bool(field, n)
		l.file.noSearch = !on
		return
	}
	var name, key string
	l.Fields(field, n, strictyaml.Field{Name: "provider", Read: l.plain(&name)}, strictyaml.Field{Name: "key", Read: l.text(&key)})
	var known []string
	for _, p := range builtin.SearchProviders {
		known = append(known, p.Name)
		if p.Name != name {
			continue
		}
		if key == "" {
			key, _ = l.lookup(p.KeyEnv)
		}
		if key == "" {
			l.Failf(n, field, "there is no key for %s: set the environment variable %s", name, p.KeyEnv)
		}
		if len(key) >= minSecret {
			l.file.secrets = append(l.file.secrets, key)
		}
		l.file.search = &searchKey{p, key}
	}
	if !slices.Contains(known, name) {
		l.Failf(n, field+".provider", "must be one of %s", strings.Join(known, ", "))
	}
}
