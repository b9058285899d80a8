import sys

from batchagent import BatchAgent, tool


@tool
async def read_policy(path: str) -> str:
    """Reads a policy."""
    return "Goods may be sent back within 30 days."


letters = [f"Letter {i}: the goods came broken." for i in range(50)]

# Table 1 counts from here.
from pydantic import BaseModel
class Verdict(BaseModel):
    decision: str
    reason: str
results = BatchAgent.run_sync(
    task="Read policy.md with read_policy, then decide whether this customer may send the goods back: {input}",
    inputs=letters, tools=[read_policy], output_schema=Verdict, backend=sys.argv[1],
)
