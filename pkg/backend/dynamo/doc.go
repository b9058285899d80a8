// Package dynamo is the backend for an NVIDIA Dynamo frontend.
//
// It owns what Dynamo has beyond the chat protocol of package openaichat, as a real 1.6.1 showed it: a body of exactly the
// fields that it takes, since it refuses all others; priorities as hints to its router; sessions as headers; whole tool
// calls in events of their own; readiness by model; and a load that only the frontend's metrics tell. The chat itself
// and its failure model are openaichat's.
//
// URLs: dynamo://host:port (port 8000 if none is given), dynamo+http:// the same, dynamo+https://host/prefix. Dynamo
// checks no key; a gateway before it may, and gets BATCHAGENT_API_KEY.
//
// # What is not believed
//
//   - /health: it says 200 with no worker at all. The model's own readiness route is asked.
//   - A tool call in a tool_call_dispatch event, unless it is whole, the tool choice was auto, and the next chunk does not
//     say that the turn was cut. Its deltas follow, and are recognised by its ID.
//   - A tool call of a turn that was cut: Dynamo mends it into valid JSON.
//   - Usage that cannot be: a request that moved to another worker is billed for what it had already generated, and
//     nothing in its stream tells of the move. See type usageCheck.
//
// A prompt over the window is told as such only if the workers publish their budget; otherwise it looks like an internal
// error, and the agent repeats it in vain.
//
// A Backend is safe for concurrent use and starts no goroutine. Start reading at [Backend.Generate].
package dynamo
