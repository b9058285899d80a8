package spec

import "github.com/batchagent/batchagent/pkg/strictyaml"

// meanings maps names of fields in other tools to fields of a spec: the OpenAI API and its batches, LangChain,
// promptfoo, vLLM, data sets. Names are folded. Fields are paths that start at a level which knows their first part.
var meanings = strictyaml.NamesOf(map[string]string{
	"task":          "prompt prompts template prompt_template user_prompt user user_message message messages instruction question query input_template text",
	"system_prompt": "system system_message sys_prompt developer developer_message preamble instructions persona role",
	"output_schema": "schema json_schema response_format response_schema response_model output_format output_type output output_model " +
		"structured_output structured_outputs guided_json format text_format returns result_schema",
	"model":        "model_name model_id models llm engine deployment served_model_name",
	"backend":      "base_url api_base endpoint url server host provider providers backend_url api_url base",
	"inputs":       "input data dataset datasets data_files input_file input_file_id file files items rows vars tests examples documents docs records source",
	"id":           "key row_id custom_id primary_key id_field id_column",
	"carry":        "passthrough pass_through keep keep_columns columns metadata extra_columns include_input",
	"max_inflight": "concurrency max_concurrency max_concurrent parallel parallelism workers num_workers max_workers threads max_connections batch_size max_num_seqs",
	"max_retries":  "retries num_retries retry max_retry retry_count",
	"max_attempts": "attempts tries max_tries",
	"max_turns":    "turns steps max_steps iterations max_iterations max_iter recursion_limit max_tool_calls",
	"timeouts":     "timeout_settings",
	"tools":        "tool functions function mcp mcp_servers",
	"name":         "title description batch_name label",
	"owner":        "team group tenant project",
	"ttl":          "expires expire expires_after retention ttl_seconds",
	"transcripts":  "transcript trajectory trajectories log_messages return_messages save_messages",
	"on_bad_input": "on_error skip_errors skip_bad_inputs ignore_errors",
	"prices":       "price pricing cost costs cost_per_token",
	"budget":       "max_cost max_budget max_usd limit limits spend",
	"reduce":       "aggregate summarize summary combine merge",
	"plan":         "planner",
	"literal":      "raw verbatim",
	"order":        "sort sort_by sorting ordering shuffle",

	"timeouts.turn":                            "timeout request_timeout timeout_s timeout_seconds completion_window",
	"sampling.temperature":                     "temperature temp",
	"sampling.top_p":                           "top_p nucleus",
	"sampling.max_tokens":                      "max_tokens max_completion_tokens max_output_tokens max_new_tokens max_length num_predict",
	"sampling.seed":                            "seed random_seed",
	"sampling.stop":                            "stop stop_sequences stop_sequence stops",
	"sampling.extra_body":                      "extra_body model_kwargs extra params",
	"sampling.extra_body.top_k":                "top_k",
	"sampling.extra_body.min_p":                "min_p",
	"sampling.extra_body.logprobs":             "logprobs",
	"sampling":                                 "sampling_params generation_config generation parameters model_params",
	"sampling.extra_body.chat_template_kwargs": "chat_template_kwargs enable_thinking",
	"sampling.extra_body.repetition_penalty":   "repetition_penalty",
	"sampling.extra_body.presence_penalty":     "presence_penalty",
	"sampling.extra_body.frequency_penalty":    "frequency_penalty",

	// Fields of inputs.
	"file":      "path filename csv jsonl json",
	"delimiter": "sep separator delim",
	"glob":      "pattern include",
	"root":      "dir folder directory base_dir",
	"where":     "filter status",

	// Fields of timeouts and budgets.
	"turn":   "request call model",
	"job":    "total attempt",
	"tokens": "max_tokens",
	"usd":    "dollars max_usd cost",
})
