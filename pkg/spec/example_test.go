package spec_test

import (
	"fmt"

	"github.com/batchagent/batchagent/pkg/spec"
)

func ExampleParseTemplate() {
	t := spec.ParseTemplate(`Sort {text} into {"kind": "{{kind}}"}.`)
	prompt, err := t.Render(map[string]any{"text": "my parcel is late"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(prompt)
	// Output: Sort my parcel is late into {"kind": "{kind}"}.
}
