"""A pydantic-ai agent. It takes the batch's tools over MCP."""

import os

from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.mcp import MCPToolset
from pydantic_ai.models.openai import OpenAIChatModel


class Ticket(BaseModel):
    team: str
    urgent: bool


agent = Agent(
    OpenAIChatModel(os.environ["BATCHAGENT_MODEL"]),
    output_type=NativeOutput(Ticket),
    toolsets=[MCPToolset(os.environ["BATCHAGENT_MCP_URL"])],
)
print(agent.run_sync(os.environ["BATCHAGENT_TASK"]).output.model_dump_json())
