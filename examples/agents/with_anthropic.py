"""The tool loop of the Anthropic SDK."""

import json
import os

import anthropic


@anthropic.beta_tool
def teams(topic: str) -> str:
    """List the teams for a topic.

    Args:
        topic: what the ticket is about
    """
    return f"{topic}: billing, sign-in, data"


runner = anthropic.Anthropic().beta.messages.tool_runner(
    model=os.environ["BATCHAGENT_MODEL"], max_tokens=500, tools=[teams], messages=[{"role": "user", "content": os.environ["BATCHAGENT_TASK"]}]
)
answer = runner.until_done()
print(json.dumps({"answer": "".join(block.text for block in answer.content if block.type == "text")}))
