package strictyaml_test

import (
	"fmt"

	"github.com/batchagent/batchagent/pkg/strictyaml"
)

func ExampleParse() {
	names := strictyaml.NamesOf(map[string]string{"port": "listen_port"})
	var port int64
	r, top := strictyaml.Parse("server.yaml", []byte("port: 80a\nlisten_port: 81\nhots: a\n"), names)
	r.Fields("", top,
		strictyaml.Field{Name: "host", Read: func(field string, n strictyaml.Node) { r.Text(field, n) }},
		strictyaml.Field{Name: "port", Read: func(field string, n strictyaml.Node) { port, _ = r.Int(field, n, 1, 65535) }},
	)
	fmt.Println(port)
	fmt.Println(r.Errs.OrNil())
	// Output:
	// 0
	// server.yaml:1: field port: must be a whole number, not "80a"
	// server.yaml:2: field listen_port: unknown field; this is called port here
	// server.yaml:3: field hots: unknown field; the nearest known name is "host"
}
