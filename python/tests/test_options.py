from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from batchagent import BatchAgent
from batchagent.options import results_path, spec_of, tools_of, translated
from batchagent.definition import Tool, tool


def spec(**o: Any) -> dict[str, Any]:
    o = translated({"task": "t {a}", "inputs": [], **o})
    return spec_of(o, o.pop("schema", None), tools_of(o), local=True)


def test_fields_of_a_spec_pass_through() -> None:
    made = spec(model="m", max_turns=4, sampling={"temperature": 0}, timeouts={"turn": 1.5, "job": "5m"}, name="papers", system_prompt="")
    assert made == {
        "name": "papers", "task": "t {a}", "model": "m", "max_turns": 4, "sampling": {"temperature": 0}, "timeouts": {"turn": "1500ms", "job": "5m"},
    }


def test_names_of_batch_agent_are_translated() -> None:
    made = spec(max_concurrent=7, timeout_per_turn=60, timeout_per_agent=None, no_hoist=True, strip_preamble=True)
    assert (made["max_inflight"], made["timeouts"], made["hoist"], made["keep_preamble"]) == (7, {"turn": "60000ms"}, False, False)
    assert "max_inflight" not in spec(max_inflight=-1)
    with pytest.warns(UserWarning, match="the engine decides it: kvflow"):
        spec(kvflow=True)


def test_unknown_arguments_are_refused() -> None:
    with pytest.raises(TypeError, match="'max_turn'; did you mean 'max_turns'"):
        spec(max_turn=3)
    with pytest.raises(TypeError, match="'ouput_schema'; did you mean 'output_schema'"):
        spec(ouput_schema={})
    with pytest.raises(TypeError, match="missing argument 'task'"):
        translated({"inputs": []})
    with pytest.raises(TypeError, match="runtime= is not supported"):
        spec(runtime=object())


def test_options_of_a_kept_run_are_checked() -> None:
    with pytest.raises(ValueError, match="rerun= needs name="):
        spec(rerun="failed")
    with pytest.raises(ValueError, match='rerun={"batch": results.batch'):
        spec(rerun="failed", server="http://h")
    with pytest.raises(ValueError, match="a condition such as 'failed'"):
        spec(rerun={"batch": "b", "where": "failed"}, name="n")
    with pytest.raises(ValueError, match="rerun is empty"):
        spec(rerun="", name="n")
    with pytest.raises(ValueError, match="name is empty"):
        spec(name="")
    with pytest.raises(TypeError, match="is no agent"):
        spec(agent={})


def test_tools_have_the_name_of_their_server_on_a_cluster() -> None:
    @tool
    def find(key: str) -> str:
        return key

    o = translated({"task": "t", "inputs": [], "tools": [find, Tool.read_file, "files.read", {"name": "web_search", "share": "inflight"}]})
    local, cluster = (spec_of(o, None, tools_of(o), local=where)["tools"] for where in (True, False))
    assert local == ["find", "read_file", "files.read", {"name": "web_search", "share": "inflight"}]
    assert cluster[0] == "python.find" and cluster[1:] == local[1:]


def test_a_name_is_a_file() -> None:
    assert results_path({}) is None
    path = results_path({"name": "papers"})
    assert path is not None and path.parts[-2:] == (".batchagent", "papers.jsonl")
    with pytest.raises(ValueError, match="no slash"):
        results_path({"name": "../x"})


@pytest.mark.parametrize("server", ["127.0.0.1:8080", "batches.example.org", "localhost:8080", "ftp://h", "http://", "", "http://h:port"])
def test_a_server_is_a_url(server: str) -> None:
    with pytest.raises(ValueError, match=f"server is '{server}'; give its URL, such as http://"):
        spec(server=server)
    assert spec(server="https://h:8080/") == spec(server=None)


def test_the_folder_of_kept_results_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("")
    for folder in ("f", "f/below"):
        with pytest.raises(ValueError, match="checkpoint_dir is .*/f.*: .*(exists|[Nn]ot a directory)"):
            BatchAgent.run_sync(task="{input}", inputs=[1], name="n", checkpoint_dir=tmp_path / folder)
