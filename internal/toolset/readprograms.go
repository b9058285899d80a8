package toolset

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/batchagent/batchagent/internal/s3"
	"github.com/batchagent/batchagent/pkg/program"
	"github.com/batchagent/batchagent/pkg/strictyaml"
)

// Limits of memory_mb. An interpreter does not start with less than the lower one.
const (
	minMemory = 16
	maxMemory = 1 << 20
)

// program reads a program that specs can name as their agent.
//
//	programs:
//	  mini-swe:
//	    argv: [mini, --yolo, --task, "{task}"]
//	    timeout: 10m
//	    memory_mb: 2048
//	    isolation: bubblewrap
func (l *loader) program(name, field string, n strictyaml.Node) {
	p := program.Program{Name: name, Isolation: program.None}
	if !toolName.MatchString(name) {
		l.Failf(n, field, "a program's name has 1 to 64 letters, digits, - and _")
	}
	l.Fields(field, n,
		strictyaml.Field{Name: "argv", Read: l.texts(&p.Argv)},
		strictyaml.Field{Name: "env", Read: l.env(&p.Env)},
		strictyaml.Field{Name: "dir", Read: l.path(&p.Dir)},
		strictyaml.Field{Name: "timeout", Read: l.wait(&p.Timeout, maxWait)},
		strictyaml.Field{Name: "memory_mb", Read: func(field string, n strictyaml.Node) {
			mb, _ := l.Int(field, n, minMemory, maxMemory)
			p.Memory = mb << 20
		}},
		strictyaml.Field{Name: "isolation", Read: func(field string, n strictyaml.Node) {
			v, _ := l.Text(field, n)
			all := []program.Isolation{program.None, program.Bubblewrap, program.Docker}
			if p.Isolation = program.Isolation(v); !slices.Contains(all, p.Isolation) {
				l.Failf(n, field, "must be %s, %s or %s", all[0], all[1], all[2])
			}
		}},
		strictyaml.Field{Name: "image", Read: func(field string, n strictyaml.Node) {
			if p.Image, _ = l.Text(field, n); strings.HasPrefix(p.Image, "-") {
				l.Failf(n, field, "an image's name does not begin with -")
			}
		}},
		strictyaml.Field{Name: "network", Read: func(field string, n strictyaml.Node) { p.Network, _ = l.Bool(field, n) }},
		strictyaml.Field{Name: "read", Read: l.texts(&p.Read)},
		strictyaml.Field{Name: "serve", Read: func(field string, n strictyaml.Node) { p.Serve, _ = l.Bool(field, n) }},
		strictyaml.Field{Name: "run", Read: func(field string, n strictyaml.Node) {
			l.List(field, n, func(field string, n strictyaml.Node) {
				var argv []string
				l.texts(&argv)(field, n)
				p.SetUp = append(p.SetUp, argv)
			})
		}},
	)
	l.need(n, field, "argv", len(p.Argv) > 0 && p.Argv[0] != "")
	if p.Network && p.Isolation == program.None {
		l.Failf(n, field, "network belongs to isolation: bubblewrap or docker; without it a program has the network anyway")
	}
	if (p.Image != "") != (p.Isolation == program.Docker) {
		l.Failf(n, field, "isolation: docker needs image, the name of a Docker image, and no other isolation has one")
	}
	if p.Serve && (p.Isolation != program.None || len(p.SetUp) > 0 || p.Timeout > 0) {
		l.Failf(n, field, "serve is for one process that serves many jobs; isolation, run and timeout are for one process for each job")
	}
	l.file.programs = append(l.file.programs, p)
}

// filesOfPrograms reads where large files of programs go.
func (l *loader) filesOfPrograms(field string, n strictyaml.Node) {
	at := &l.file.files
	l.text(at)(field, n)
	if !s3.Is(*at) {
		l.relative(at)
		if full, err := filepath.Abs(*at); err == nil && *at != "" { // readers of the results are in other folders
			*at = full
		}
		return
	}
	*at = strings.TrimSuffix(*at, "/")
	if _, err := s3.Parse(*at); err != nil {
		l.Failf(n, field, "%v", err)
	}
}
