// Package strictyaml reads the YAML files that users write, and explains every mistake in them.
//
// [ReadFile] parses a file and passes a [Reader] and the top node to a function. The function names the known fields, and
// reads each with a method for its kind of value. The reader records every mistake with its file, line and field, and
// continues. All mistakes are returned at once, as [Errors]:
//
//	err := strictyaml.ReadFile("server.yaml", nil, func(r *strictyaml.Reader, top strictyaml.Node) {
//		r.Fields("", top,
//			strictyaml.Field{Name: "port", Read: func(field string, n strictyaml.Node) {
//				port, _ = r.Int(field, n, 1, 65535)
//			}},
//		)
//	})
//	// server.yaml:3: field prot: unknown field; the nearest known name is "port"
//
// # Strictness
//
// Unknown and duplicate keys are mistakes. So are tags, unused anchors before text, and a second document. A number has
// the form of the YAML 1.2 core schema; 02142 and 1_000 stay text. If a syntax error looks like text without quotes, the
// message says how to quote it. With [Names], the message for a name of another tool gives the name of the field here.
//
// # Bounds
//
// A file has at most 4 MiB ([MaxBytes]). Before the parser runs, the package refuses 10,000 open brackets, a mapping of
// more than 20,000 keys and more than 100 documents, because the time of the parser grows with their square. While values
// are read, it refuses more than 200 nested values, 20 nested merge keys, and 2,000,000 values with aliases expanded.
//
// The package starts no goroutine. A [Reader] is not safe for concurrent use. Start reading at [Parse], then
// [Reader.Fields].
package strictyaml
