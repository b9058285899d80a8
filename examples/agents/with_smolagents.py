"""A smolagents agent with a tool of its own."""

import json
import os

from smolagents import OpenAIServerModel, ToolCallingAgent, tool
from smolagents.monitoring import LogLevel


@tool
def teams(topic: str) -> str:
    """List the teams for a topic.

    Args:
        topic: what the ticket is about
    """
    return f"{topic}: billing, sign-in, data"


model = OpenAIServerModel(os.environ["BATCHAGENT_MODEL"], api_base=os.environ["OPENAI_BASE_URL"], api_key=os.environ["OPENAI_API_KEY"])
agent = ToolCallingAgent([teams], model, max_steps=4, verbosity_level=LogLevel.OFF)
print(json.dumps({"answer": str(agent.run(os.environ["BATCHAGENT_TASK"]))}))
