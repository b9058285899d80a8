"""A LangGraph agent with a tool of its own."""

import os

from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.prebuilt import create_react_agent
from pydantic import BaseModel


class Ticket(BaseModel):
    team: str
    urgent: bool


@tool
def teams(topic: str) -> str:
    """List the teams for a topic."""
    return f"{topic}: billing, sign-in, data"


model = ChatOpenAI(model=os.environ["BATCHAGENT_MODEL"])
agent = create_react_agent(model, [teams], response_format=Ticket)
state = agent.invoke({"messages": [("user", os.environ["BATCHAGENT_TASK"])]})
print(state["structured_response"].model_dump_json())
