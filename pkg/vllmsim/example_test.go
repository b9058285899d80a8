package vllmsim_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/batchagent/batchagent/pkg/vllmsim"
)

func ExampleServer_Start() {
	s, err := vllmsim.New(vllmsim.Config{ForwardMS: 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	url, stop, err := s.Start(context.Background(), "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = stop() }()

	resp, err := http.Post(url+"/tokenize", "application/json", strings.NewReader(`{"prompt":"hello world","return_token_strs":true}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	fmt.Println(string(body), err)
	http.DefaultClient.CloseIdleConnections()
	// Output: {"count":2,"max_model_len":32768,"tokens":[20730,47572],"token_strs":["hello"," world"]} <nil>
}
