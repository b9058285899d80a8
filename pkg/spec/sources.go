package spec

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/goccy/go-yaml/ast"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/strictyaml"
)

// readInputs reads the field inputs in any of its forms:
//
//	inputs: [{…}, …]                      in the spec; a bare value is the field "input"
//	inputs: papers.jsonl                  a file, with the format of its extension, also with .gz or .zst; or a glob, if it contains a *
//	inputs: s3://bucket/papers.csv        an object, with the format of its extension
//	inputs: "-"                           standard input, as JSON lines
//	inputs: {file: export, format: csv}   format is jsonl, json, csv, text or parquet
//	inputs: {file: x.csv, delimiter: ";"} the character between columns
//	inputs: {glob: "**/*.go", exclude: ["**/*_test.go"], root: ../..}
//	inputs: {stdin: csv}
//	inputs: {batch: b_…, where: ok}       results of another batch; where is a condition of package filter
//	inputs: {results: map.jsonl}          the same from a results file
//
// It returns nil after a mistake.
func (l *loader) readInputs(field string, n ast.Node) source {
	switch n.(type) {
	case *ast.SequenceNode:
		return l.inlineInputs(field, n)
	case ast.MapNode:
		return l.inputsMapping(field, n)
	}
	path, ok := l.Text(field, n)
	switch {
	case !ok:
		return nil
	case path == "-":
		return l.stream(formatJSONL, 0)
	case strings.Contains(path, "*") && !strings.HasPrefix(path, objectScheme):
		return l.globInputs(globFields{field: field, node: n, pattern: path})
	default:
		return l.fileInputs(field, n, path, "", 0)
	}
}

func (l *loader) inlineInputs(field string, n ast.Node) source {
	inputs := inlineSource{}
	l.List(field, n, func(field string, n ast.Node) {
		raw, ok := l.JSON(field, n)
		if !ok {
			return
		}
		fields, names, err := decodeFields(raw)
		if err != nil {
			l.Failf(n, field, "%v", err)
			return
		}
		inputs = append(inputs, Input{Where: strictyaml.Place(l.File, strictyaml.LineOf(n)), Fields: fields, Names: names})
	})
	return inputs
}

// globFields are the parts of a glob in the spec.
type globFields struct {
	field   string
	node    ast.Node
	pattern string
	exclude []string
	root    string
}

func (l *loader) inputsMapping(field string, n ast.Node) source {
	var file, fileFormat, stdin, from, results string
	var delimiter rune
	where := string(batch.OK)
	glob := globFields{field: field + ".glob", node: n}
	before := len(l.Errs)
	given := map[string]bool{}
	text := func(to *string) func(string, ast.Node) {
		return func(f string, n ast.Node) {
			*to, _ = l.Text(f, n)
			given[strings.TrimPrefix(f, field+".")] = true
		}
	}
	l.Fields(field, n,
		strictyaml.Field{Name: fileField, Read: text(&file)},
		strictyaml.Field{Name: "format", Read: text(&fileFormat)},
		strictyaml.Field{Name: "delimiter", Read: l.delimiter(&delimiter)},
		strictyaml.Field{Name: "glob", Read: text(&glob.pattern)},
		strictyaml.Field{Name: "exclude", Read: func(f string, n ast.Node) {
			given["exclude"] = true
			l.List(f, n, func(f string, n ast.Node) {
				pattern, ok := l.Text(f, n)
				if ok && !doublestar.ValidatePattern(filepath.ToSlash(pattern)) {
					l.Failf(n, f, "is not a valid pattern: %q", pattern)
				}
				glob.exclude = append(glob.exclude, filepath.ToSlash(pattern))
			})
		}},
		strictyaml.Field{Name: "root", Read: text(&glob.root)},
		strictyaml.Field{Name: "stdin", Read: text(&stdin)},
		strictyaml.Field{Name: "batch", Read: text(&from)},
		strictyaml.Field{Name: "results", Read: text(&results)},
		strictyaml.Field{Name: "where", Read: text(&where)},
	)
	if len(l.Errs) > before {
		return nil
	}
	kinds := 0
	for _, kind := range []string{fileField, "glob", "stdin", "batch", "results"} {
		if given[kind] {
			kinds++
		}
	}
	switch {
	case kinds != 1:
		l.Failf(n, field, "must have exactly one of file, glob, stdin, batch and results")
	case given["format"] && !given[fileField]:
		l.Failf(n, field, "format goes with file only; standard input takes it as {stdin: csv}")
	case delimiter != 0 && !given[fileField] && !given["stdin"]:
		l.Failf(n, field, "delimiter goes with file and stdin only")
	case (given["exclude"] || given["root"]) && !given["glob"]:
		l.Failf(n, field, "exclude and root go with glob only")
	case given["where"] && !given["batch"] && !given["results"]:
		l.Failf(n, field, "where goes with batch and results only")
	case given["batch"]:
		return l.earlierInputs(field, n, Earlier{Batch: batch.ID(from)}, where)
	case given["results"]:
		return l.earlierInputs(field, n, Earlier{File: l.resolvePath(results), Shown: l.shown(results)}, where)
	case given[fileField]:
		return l.fileInputs(field+".file", n, file, fileFormat, delimiter)
	case given["stdin"]:
		if l.checkFormat(field+".stdin", n, stdin) && l.checkDelimiter(field, n, format(stdin), delimiter) {
			return l.stream(format(stdin), delimiter)
		}
	default:
		return l.globInputs(glob)
	}
	return nil
}

func (l *loader) checkFormat(field string, n ast.Node, name string) bool {
	if slices.Contains(formats, name) {
		return true
	}
	l.Failf(n, field, "must be one of %s, not %q", strings.Join(formats, ", "), name)
	return false
}

func (l *loader) checkDelimiter(field string, n ast.Node, f format, delimiter rune) bool {
	if delimiter != 0 && f != formatCSV {
		l.Failf(n, field, "delimiter goes with CSV only, and this is %s", f)
		return false
	}
	return true
}

// fileInputs returns a file of inputs. The format is that of its extension unless the spec names one.
func (l *loader) fileInputs(field string, n ast.Node, file, named string, delimiter rune) source {
	if strings.HasPrefix(file, objectScheme) {
		return l.objectInputs(field, n, file, named, delimiter)
	}
	if !l.mayRead(field, n, file) {
		return nil
	}
	src := &fileSource{path: l.resolvePath(file), shown: l.shown(file), format: format(named), delimiter: delimiter}
	info, err := os.Stat(src.path)
	if err == nil && info.IsDir() {
		l.Failf(n, field, "%s is a folder; for one input per file write a pattern, such as %q", src.shown, filepath.ToSlash(filepath.Join(file, "**/*.md")))
		return nil
	}
	var ext string
	ext, src.packed = extensionsOf(file)
	if named == "" {
		if src.format = formatOf(ext); delimiter != 0 && src.format == "" {
			src.format = formatCSV
		}
	} else if !l.checkFormat("inputs.format", n, named) {
		return nil
	}
	switch {
	case err != nil && strings.ContainsAny(file, "?[{"):
		l.Failf(n, field, "read %s: %v; if it is a pattern, write {glob: %q}", src.shown, strictyaml.WithoutPath(err), file)
	case src.format == "" && strings.ContainsAny(file, "?[{"):
		l.Failf(n, field, "the extension of %q names no format; write {file: %q, format: %s}, or, if it is a pattern, {glob: %q}",
			file, file, strings.Join(formats, "|"), file)
	case src.format == "":
		l.Failf(n, field, "the extension of %q names no format; write {file: %s, format: %s}", file, file, strings.Join(formats, "|"))
	case err != nil:
		l.Failf(n, field, "read %s: %v", src.shown, strictyaml.WithoutPath(err))
	case !info.Mode().IsRegular():
		l.Failf(n, field, "%s is not a regular file; inputs are read twice, so a pipe must come through standard input", src.shown)
	case l.checkDelimiter(field, n, src.format, delimiter):
		if (ext == extTSV || ext == extTab) && src.format == formatCSV && delimiter == 0 {
			src.delimiter = '\t'
		}
		return src
	}
	return nil
}

// globInputs returns the files that a pattern matches. The pattern is relative to root, and root to the spec's folder.
//
// The model passes the field "path" to read_file, which sees the tools root (by default the current directory). "path"
// is therefore relative to the tools root if all matches are in it. Otherwise it is relative to root, or to the part of
// the pattern without wildcards if that leads out of root. Workers then need that folder as their tools root.
func (l *loader) globInputs(g globFields) source {
	if !l.mayRead(g.field, g.node, g.pattern) {
		return nil
	}
	pattern := filepath.ToSlash(g.pattern)
	if !doublestar.ValidatePattern(pattern) {
		l.Failf(g.node, g.field, "is not a valid pattern: %q", g.pattern)
		return nil
	}
	src := &globSource{base: l.resolvePath(g.root), exclude: g.exclude, written: pattern}
	var fixed string
	fixed, src.pattern = doublestar.SplitPattern(pattern)
	src.root = filepath.Join(src.base, filepath.FromSlash(fixed))
	if filepath.IsAbs(filepath.FromSlash(fixed)) {
		src.root = filepath.FromSlash(fixed)
	}
	info, err := os.Stat(src.root)
	if err == nil && !info.IsDir() {
		l.Failf(g.node, g.field, "%s is not a folder", src.root)
		return nil
	}
	if err != nil {
		l.Failf(g.node, g.field, "read %s: %v", src.root, strictyaml.WithoutPath(err))
		return nil
	}
	switch {
	case within(l.toolsRoot, src.root):
		src.pathFrom = l.toolsRoot
	case within(src.base, src.root):
		src.pathFrom = src.base
	default:
		src.pathFrom = src.root
	}
	return src
}
