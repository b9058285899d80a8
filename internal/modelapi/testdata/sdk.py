"""Speaks to a session with the SDKs of OpenAI and Anthropic, unmodified. Usage: sdk.py URL"""

import asyncio
import sys

import anthropic
import openai
from pydantic import BaseModel

URL = sys.argv[1]
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
FUNCTION = {"name": "get_weather", "description": "Weather of a city", "parameters": PARAMETERS, "strict": True}
QUESTION = "What is the weather in Rome?"

oai = openai.OpenAI(base_url=URL + "/v1", api_key="x")
ant = anthropic.Anthropic(base_url=URL, api_key="x")


class Answer(BaseModel):
    ok: bool


def raises(kind, call, *phrases):
    try:
        call()
    except kind as e:
        for phrase in phrases:
            assert phrase in str(e), (phrase, str(e))
        return e
    raise AssertionError(f"{kind} was not raised")


def cut(stream):
    """The events of a stream whose head and first piece have arrived, and whose model call fails only now."""
    oai.chat.completions.create(model="qwen3", messages=[{"role": "user", "content": "cut the stream"}])
    return list(stream)


# OpenAI: chat completions


def chat_text():
    r = oai.chat.completions.create(model="qwen3", messages=[{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "hi"}])
    assert r.choices[0].message.content == "It is sunny in Rome.", r
    assert (r.choices[0].finish_reason, r.model) == ("stop", "qwen3")
    assert r.usage.prompt_tokens == 30 and r.usage.prompt_tokens_details.cached_tokens == 16
    r = oai.chat.completions.create(model="default", n=2, messages=[{"role": "user", "content": "hi"}])
    assert [c.index for c in r.choices] == [0, 1] and r.usage.completion_tokens == 8


def chat_tools():
    messages = [{"role": "user", "content": QUESTION}]
    tools = [{"type": "function", "function": FUNCTION}]
    for streamed in (False, True):
        if streamed:
            with oai.chat.completions.stream(model="qwen3", messages=messages, tools=tools, stream_options={"include_usage": True}) as s:
                kinds = {e.type for e in s}
                r = s.get_final_completion()
            assert {"chunk", "content.delta", "tool_calls.function.arguments.done"} <= kinds, kinds
        else:
            r = oai.chat.completions.create(model="qwen3", messages=messages, tools=tools)
        m = r.choices[0].message
        assert r.choices[0].finish_reason == "tool_calls" and r.usage.total_tokens == 50
        assert m.content == "Let me look." and m.model_extra["reasoning_content"] == "I need it."
        assert [c.function.arguments for c in m.tool_calls] == ['{"city": "Rome"}', '{"city": "Oslo"}']
        results = [{"role": "tool", "tool_call_id": c.id, "content": "sunny"} for c in m.tool_calls]
        sent = m.model_dump(exclude_none=True)
        if "parsed" in sent or streamed:
            sent.pop("parsed", None)
            for c in sent["tool_calls"]:
                c["function"].pop("parsed_arguments", None)
        r = oai.chat.completions.create(model="qwen3", messages=[*messages, sent, *results], tools=tools)
        assert r.choices[0].message.content == "It is sunny in Rome."


def chat_schema():
    r = oai.chat.completions.parse(model="qwen3", messages=[{"role": "user", "content": "ok?"}], response_format=Answer)
    assert r.choices[0].message.parsed == Answer(ok=True)


def chat_image():
    content = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64," + PIXEL}}]
    r = oai.chat.completions.create(model="qwen3", messages=[{"role": "user", "content": content}])
    assert r.choices[0].message.content == "I see 1 image."


def chat_failures():
    def ask(text, **more):
        return lambda: list(oai.chat.completions.create(model="qwen3", messages=[{"role": "user", "content": text}], **more))

    assert oai.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "hi"}]).model == "gpt-4o"  # every name is the job's model
    raises(openai.BadRequestError, ask("hi", logprobs=True), "log probabilities")
    e = raises(openai.BadRequestError, ask("fail context_too_long"), "maximum context length")
    assert e.code == "context_length_exceeded"
    raises(openai.RateLimitError, ask("fail rate_limited"))
    raises(openai.InternalServerError, ask("fail overloaded"))
    raises(openai.InternalServerError, ask("fail overloaded", stream=True))
    raises(openai.AuthenticationError, ask("fail auth"))
    later = [{"role": "user", "content": "fail later"}]
    raises(openai.APIError, lambda: cut(oai.chat.completions.create(model="qwen3", messages=later, stream=True)), "the stream was cut")


def openai_models():
    assert [m.id for m in oai.models.list()] == ["qwen3"]
    assert oai.models.retrieve("qwen3").id == "qwen3"


def openai_async():
    async def ask():
        async with openai.AsyncOpenAI(base_url=URL, api_key="x") as client:  # a base URL without /v1
            texts = []
            async for chunk in await client.chat.completions.create(model="qwen3", messages=[{"role": "user", "content": "hi"}], stream=True):
                texts.append(chunk.choices[0].delta.content or "")
            return "".join(texts)

    assert asyncio.run(ask()) == "It is sunny in Rome."


# OpenAI: Responses


def responses_text():
    r = oai.responses.create(model="qwen3", input="hi", instructions="Be brief.")
    assert r.output_text == "It is sunny in Rome." and r.status == "completed"
    assert r.usage.input_tokens == 30 and r.usage.input_tokens_details.cached_tokens == 16
    assert r.usage.output_tokens_details.reasoning_tokens == 0
    r = oai.responses.parse(model="qwen3", input="ok?", text_format=Answer)
    assert r.output_parsed == Answer(ok=True)


def responses_tools():
    conversation = [{"role": "user", "content": QUESTION}]
    tools = [{"type": "function", **FUNCTION}]
    for streamed in (False, True):
        more = {"model": "qwen3", "input": conversation, "tools": tools, "include": ["reasoning.encrypted_content"], "store": False}
        if streamed:
            with oai.responses.stream(**more) as s:
                events = list(s)
                r = s.get_final_response()
            assert [e.sequence_number for e in events] == list(range(len(events)))
            assert events[0].type == "response.created" and events[-1].type == "response.completed"
            assert {"response.output_text.delta", "response.reasoning_text.delta", "response.function_call_arguments.done"} <= {e.type for e in events}
        else:
            r = oai.responses.create(**more)
        assert [i.type for i in r.output] == ["reasoning", "message", "function_call", "function_call"], r.output
        assert r.output[0].content[0].text == "I need it." and r.output[0].encrypted_content
        assert r.output_text == "Let me look."
        sent = [i.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for i in r.output]
        results = [{"type": "function_call_output", "call_id": i.call_id, "output": "sunny"} for i in r.output if i.type == "function_call"]
        r = oai.responses.create(model="qwen3", input=[*conversation, *sent, *results], tools=tools)
        assert r.output_text == "It is sunny in Rome."


def responses_failures():
    raises(openai.BadRequestError, lambda: oai.responses.create(model="qwen3", input="hi", previous_response_id="resp_1"), "stores no responses")
    raises(openai.InternalServerError, lambda: oai.responses.create(model="qwen3", input="fail overloaded"))
    raises(openai.InternalServerError, lambda: oai.responses.create(model="qwen3", input="fail overloaded", stream=True))
    *_, failed, error = cut(oai.responses.create(model="qwen3", input="fail later", stream=True))  # the SDK hands failures on as events
    assert failed.type == "response.failed" and failed.response.error.message == "the stream was cut"
    assert error.type == "error" and error.message == "the stream was cut"


# Anthropic: Messages


def messages_text():
    r = ant.messages.create(model="qwen3", max_tokens=64, system="Be brief.", messages=[{"role": "user", "content": "hi"}])
    assert r.content[0].text == "It is sunny in Rome." and r.stop_reason == "end_turn"
    assert (r.usage.input_tokens, r.usage.cache_read_input_tokens, r.usage.output_tokens) == (14, 16, 4)
    n = ant.messages.count_tokens(model="qwen3", messages=[{"role": "user", "content": "one two three"}])
    assert n.input_tokens == 3
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
    r = ant.messages.create(model="qwen3", max_tokens=64, messages=[{"role": "user", "content": [image]}])
    assert r.content[0].text == "I see 1 image."


def messages_tools():
    messages = [{"role": "user", "content": QUESTION}]
    tools = [{"name": "get_weather", "description": "Weather of a city", "input_schema": PARAMETERS}]
    for streamed in (False, True):
        more = {"model": "qwen3", "max_tokens": 64, "messages": messages, "tools": tools}
        if streamed:
            with ant.messages.stream(**more) as s:
                texts = list(s.text_stream)
                r = s.get_final_message()
            assert "".join(texts) == "Let me look."
        else:
            r = ant.messages.create(**more)
        assert [b.type for b in r.content] == ["thinking", "text", "tool_use", "tool_use"], r.content
        assert r.content[0].thinking == "I need it." and r.content[0].signature
        assert [b.input for b in r.content[2:]] == [{"city": "Rome"}, {"city": "Oslo"}]
        assert r.stop_reason == "tool_use" and r.usage.output_tokens == 20
        results = [{"type": "tool_result", "tool_use_id": b.id, "content": "sunny"} for b in r.content[2:]]
        sent = [b.model_dump(exclude_none=True, include={"type", "text", "thinking", "signature", "id", "name", "input"}) for b in r.content]
        r = ant.messages.create(**{**more, "messages": [*messages, {"role": "assistant", "content": sent}, {"role": "user", "content": results}]})
        assert r.content[0].text == "It is sunny in Rome."


def messages_tool_loop():
    @anthropic.beta_tool
    def get_weather(city: str) -> str:
        """Weather of a city.

        Args:
            city: the city
        """
        return f"sunny in {city}"

    runner = ant.beta.messages.tool_runner(model="qwen3", max_tokens=64, tools=[get_weather], messages=[{"role": "user", "content": QUESTION}])
    assert runner.until_done().content[0].text == "It is sunny in Rome."


def messages_failures():
    def ask(text, **more):
        return lambda: list(ant.messages.create(model="qwen3", max_tokens=64, messages=[{"role": "user", "content": text}], **more))

    assert ant.messages.create(model="claude-x", max_tokens=9, messages=[{"role": "user", "content": "hi"}]).model == "claude-x"
    raises(anthropic.BadRequestError, ask("fail context_too_long"), "prompt is too long")
    raises(anthropic.RateLimitError, ask("fail rate_limited"))
    e = raises(anthropic.InternalServerError, ask("fail overloaded"))
    assert e.status_code == 529
    later = {"model": "qwen3", "max_tokens": 64, "messages": [{"role": "user", "content": "fail later"}]}
    raises(anthropic.APIStatusError, lambda: cut(ant.messages.create(**later, stream=True)), "the stream was cut")


def anthropic_models():
    assert [m.id for m in ant.models.list()] == ["qwen3"]
    assert ant.models.retrieve("qwen3").display_name == "qwen3"


for name, test in list(globals().items()):
    if name.split("_")[0] in ("chat", "openai", "responses", "messages", "anthropic") and callable(test) and test.__module__ == "__main__":
        test()
        print("ok", name, flush=True)
