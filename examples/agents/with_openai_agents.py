"""An agent of the OpenAI Agents SDK. It takes the batch's tools over MCP, and uses the Responses API."""

import asyncio
import os

from agents import Agent, Runner, set_tracing_disabled
from agents.mcp import MCPServerStreamableHttp
from pydantic import BaseModel


class Ticket(BaseModel):
    team: str
    urgent: bool


async def main() -> None:
    set_tracing_disabled(True)  # traces would go to OpenAI
    async with MCPServerStreamableHttp(params={"url": os.environ["BATCHAGENT_MCP_URL"]}) as tools:
        agent = Agent("triage", model=os.environ["BATCHAGENT_MODEL"], output_type=Ticket, mcp_servers=[tools])
        answer = await Runner.run(agent, os.environ["BATCHAGENT_TASK"])
    print(answer.final_output.model_dump_json())


asyncio.run(main())
