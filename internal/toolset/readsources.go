package toolset

import (
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/batchagent/batchagent/pkg/strictyaml"
	"github.com/batchagent/batchagent/pkg/toolpool/sqltool"
)

func (l *loader) source(name, field string, n strictyaml.Node) {
	if !keyName.MatchString(name) {
		l.Failf(n, field, "a source's name has letters, digits and _")
	}
	s := source{config: sqltool.Config{Name: name}}
	query := true
	l.Fields(field, n,
		strictyaml.Field{Name: "dsn", Read: func(field string, n strictyaml.Node) { s.config.DSN, s.scheme = l.dsn(field, n) }},
		strictyaml.Field{Name: "description", Read: l.plain(&s.config.Description)},
		strictyaml.Field{Name: "max_rows", Read: l.count(&s.config.MaxRows, maxRows)},
		strictyaml.Field{Name: "timeout", Read: l.wait(&s.config.Timeout, maxWait)},
		strictyaml.Field{Name: "query", Read: func(field string, n strictyaml.Node) { query, _ = l.Bool(field, n) }},
		strictyaml.Field{Name: "lookups", Read: func(field string, n strictyaml.Node) {
			l.Entries(field, n, func(name, field string, n strictyaml.Node) {
				l.declare(name, field, n)
				s.config.Lookups = append(s.config.Lookups, l.sqlLookup(name, field, n))
			})
		}},
	)
	l.need(n, field, "dsn", s.config.DSN != "")
	s.noQuery = !query
	l.file.sources = append(l.file.sources, s)
}

// dsn reads a database's address. Error messages do not show it.
func (l *loader) dsn(field string, n strictyaml.Node) (dsn, scheme string) {
	written, ok := l.Text(field, n)
	if !ok {
		return "", ""
	}
	if dsn, ok = l.expand(field, n, written); !ok {
		return "", ""
	}
	l.file.secrets = append(l.file.secrets, dsn)
	if u, err := url.Parse(dsn); err == nil && u.User != nil {
		if password, set := u.User.Password(); set && len(password) >= minSecret {
			l.file.secrets = append(l.file.secrets, password)
		}
	}
	scheme, rest, _ := strings.Cut(dsn, ":")
	switch scheme {
	case "postgres", "postgresql":
		return dsn, "postgres"
	case "sqlite":
		if file := strings.TrimPrefix(rest, "//"); !filepath.IsAbs(file) {
			return "sqlite:" + filepath.Join(l.dir, file), scheme
		}
		return dsn, scheme
	}
	l.Failf(n, field, "must begin with postgres:// or sqlite:")
	return dsn, ""
}

func (l *loader) sqlLookup(name, field string, n strictyaml.Node) sqltool.Lookup {
	k := sqltool.Lookup{Name: name}
	l.Fields(field, n,
		strictyaml.Field{Name: "description", Read: l.plain(&k.Description)},
		strictyaml.Field{Name: "batch", Read: func(field string, n strictyaml.Node) {
			l.Fields(field, n,
				strictyaml.Field{Name: "key", Read: l.plain(&k.Key)},
				strictyaml.Field{Name: "query", Read: l.plain(&k.Query)},
				strictyaml.Field{Name: "window", Read: l.wait(&k.Window, time.Second)},
			)
		}},
	)
	l.need(n, field, "description", k.Description != "")
	if !keyName.MatchString(k.Key) {
		l.Failf(n, field, "batch.key must be the name of a column")
	}
	if err := k.Check(); err != nil {
		l.Failf(n, field, "%v", err)
	}
	return k
}
