//go:build realservers

package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// vllmParses parses arguments with vLLM's own parser and derives the server's settings, without looking for a GPU.
const vllmParses = `
import os, sys
os.environ.setdefault("VLLM_TARGET_DEVICE", "cpu") # a build for CPUs wants to be told
from vllm.utils.argparse_utils import FlexibleArgumentParser
import vllm.entrypoints.cli.serve as serve
parser = FlexibleArgumentParser(prog="vllm")
subparsers = parser.add_subparsers(required=True, dest="subparser")
for c in serve.cmd_init():
    c.subparser_init(subparsers)
    command = c
args = parser.parse_args(sys.argv[2:])
assert args.model_tag, "the model is no positional argument"
command.validate(args)
from vllm.tool_parsers import ToolParserManager
assert args.tool_call_parser in ToolParserManager.list_registered(), args.tool_call_parser
if args.kv_transfer_config:
    from vllm.config import KVTransferConfig
    from vllm.distributed.kv_transfer.kv_connector.factory import KVConnectorFactory
    given = args.kv_transfer_config
    config = given if isinstance(given, KVTransferConfig) else KVTransferConfig(**given)
    assert config.kv_connector in KVConnectorFactory._registry, config.kv_connector
`

const sglangParses = `
import argparse, sys
assert sys.argv[1:4] == ["python3", "-m", "sglang.launch_server"], sys.argv
from sglang.srt.server_args import ServerArgs
parser = argparse.ArgumentParser()
ServerArgs.add_cli_args(parser)
parser.parse_args(sys.argv[4:])
`

const lmcacheParses = `
import argparse, sys
assert sys.argv[1:3] == ["lmcache", "server"], sys.argv
from lmcache.v1.distributed.config import add_storage_manager_args, parse_args_to_config
from lmcache.v1.multiprocess.config import add_mp_server_args, parse_args_to_mp_server_config
parser = argparse.ArgumentParser()
add_mp_server_args(parser)
add_storage_manager_args(parser)
args = parser.parse_args(sys.argv[3:])
print(parse_args_to_mp_server_config(args), parse_args_to_config(args))
`

// TestCommandLines passes the command lines of the GPU servers to the parsers of the real vLLM, SGLang and LMCache. The parsers
// need no GPU:
//
//	BATCHAGENT_VLLM_PYTHON=…/bin/python BATCHAGENT_SGLANG_PYTHON=…/bin/python BATCHAGENT_LMCACHE_PYTHON=…/bin/python \
//	  go test -tags realservers -run CommandLines -count=1 -v .
func TestCommandLines(t *testing.T) {
	for name, c := range map[string]struct {
		python, program string
		files           []string
		service         string
	}{
		"vllm":    {"BATCHAGENT_VLLM_PYTHON", vllmParses, []string{"../docker-compose.yml"}, "gpu-1"},
		"node":    {"BATCHAGENT_VLLM_PYTHON", vllmParses, []string{"../node.yml"}, "inference"},
		"lmcache": {"BATCHAGENT_VLLM_PYTHON", vllmParses, []string{"../docker-compose.yml", "../compose.lmcache.yml"}, "gpu-1"},
		"kvcache": {"BATCHAGENT_LMCACHE_PYTHON", lmcacheParses, []string{"../docker-compose.yml", "../compose.lmcache.yml"}, "kvcache"},
		"sglang":  {"BATCHAGENT_SGLANG_PYTHON", sglangParses, []string{"../docker-compose.yml", "../compose.sglang.yml"}, "gpu-1"},
	} {
		t.Run(name, func(t *testing.T) {
			python := os.Getenv(c.python)
			require.NotEmpty(t, python, "%s must name the Python of an environment in which the server is installed", c.python)
			p, err := load(t, []string{"BATCHAGENT_REDIS=redis://10.0.0.1", "BATCHAGENT_ID=node-5", "BATCHAGENT_API_KEY=x"}, []string{"gpu"}, c.files...)
			require.NoError(t, err)
			s := p.Services[c.service]
			line := append(append([]string{}, s.Entrypoint...), s.Command...)
			if line[0] == "sh" {
				line = unwrapped(t, s.Entrypoint, s.Command)
			}
			t.Log(line)
			out, err := exec.CommandContext(t.Context(), python, append([]string{"-c", c.program}, line...)...).CombinedOutput()
			require.NoError(t, err, "%s", out)
			t.Logf("%s", out)
		})
	}
}

// unwrapped returns the command line of a server that a shell starts with its key.
func unwrapped(t *testing.T, shell, command []string) []string {
	t.Helper()
	require.Equal(t, "-c", shell[1])
	_, started, found := strings.Cut(shell[2], "exec ")
	require.True(t, found, shell)
	before, after, found := strings.Cut(started, `"$@"`)
	require.True(t, found, shell)
	line := append(strings.Fields(before), command...)
	if after != "" {
		line = append(line, "--api-key=a-key")
	}
	return line
}
