package bedrock

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/types"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/blocks"
	"github.com/batchagent/batchagent/pkg/backend/endpoint"
)

// Generate runs one model call, as a stream if the model supports it. See [backend.Backend].
func (b *Backend) Generate(ctx context.Context, r *backend.Request, o backend.Observer) (*backend.Response, error) {
	if ctx.Err() != nil {
		return nil, b.failure(ctx, ctx.Err())
	}
	model := cmp.Or(r.Model, b.model)
	if model == "" {
		_, err := b.Models(ctx)
		return nil, err
	}
	pieces := endpoint.Pieces{Secrets: b.sent.secrets}
	o = encoded(pieces.Observer(o))
	for thoughtless := false; ; {
		can := b.believed(model)
		can.reasoning = can.reasoning && !thoughtless && blocks.HasReasoning(backend.ProtocolBedrock, r.Messages)
		resp, err := pieces.Answer(b.call(ctx, r, model, can, o))
		e, ok := errors.AsType[*backend.Error](err)
		if !ok {
			return resp, err
		}
		what := refused(e)
		if !can.has(what) {
			return nil, err
		}
		// A refused call generates nothing. Each pass of this loop omits one more ability, so the loop ends.
		if what == reasoning && endpoint.Mentions(strings.ToLower(e.Message), "signature", "cannot be modified") {
			thoughtless = true // the model refuses this job's reasoning only, not reasoning in general
			continue
		}
		if b.refusals.Add(model, what) {
			b.log.Warn("the model refuses a part of the request; later calls omit it", "endpoint", b.shown, "model", model, "without", what, "error", e.Message)
		}
	}
}

// encoded returns an observer of blocks with encrypted reasoning as text. The service sends it as bytes.
func encoded(o backend.Observer) backend.Observer {
	if report := o.ReasoningBlock; report != nil {
		o.ReasoningBlock = func(p backend.Protocol, b backend.ReasoningBlock) {
			b.Redacted = base64.StdEncoding.EncodeToString([]byte(b.Redacted))
			report(p, b)
		}
	}
	return o
}

// has reports whether a call used an ability and can omit it.
func (c takes) has(what string) bool {
	switch what {
	case streaming:
		return c.streaming
	case caching:
		return c.caching
	case schemas:
		return c.schemas
	case reasoning:
		return c.reasoning
	}
	return false
}

func (b *Backend) call(ctx context.Context, r *backend.Request, model string, can takes, o backend.Observer) (*backend.Response, error) {
	in, err := input(r, model, can)
	if err != nil {
		return nil, b.located(&backend.Error{Class: backend.InvalidRequest, Err: err})
	}
	callCtx, cancel := blocks.Bounded(ctx, r.SilenceTimeout)
	defer cancel()
	t := &reading{turn: blocks.NewTurn(backend.ProtocolBedrock, o), model: model, noCalls: r.ToolChoice == backend.ToolChoiceNone}
	if can.streaming {
		err = b.stream(callCtx, in, t)
	} else {
		err = b.whole(callCtx, in, t)
	}
	if silent := blocks.Silent(callCtx); silent != nil && ctx.Err() == nil {
		err = silent
	}
	resp, err := t.end(err)
	if err != nil {
		return nil, b.failure(ctx, err)
	}
	return resp, nil
}

// stream makes a streamed call. The error is the cause of an early end.
func (b *Backend) stream(ctx context.Context, in *bedrockruntime.ConverseInput, t *reading) error {
	// A client of smithy-go 1.28.8 decodes all its event streams with one buffer, so two simultaneous streams would
	// corrupt each other. Each stream therefore has its own client; the transport shares connections.
	client := bedrockruntime.New(b.client.Options())
	out, err := client.ConverseStream(ctx, &bedrockruntime.ConverseStreamInput{
		ModelId: in.ModelId, Messages: in.Messages, System: in.System, ToolConfig: in.ToolConfig,
		InferenceConfig: in.InferenceConfig, OutputConfig: in.OutputConfig, AdditionalModelRequestFields: in.AdditionalModelRequestFields,
	})
	if err != nil {
		return err
	}
	s := out.GetStream()
	defer s.Close()
	for e := range s.Events() {
		if err := t.add(e); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil { // buffered events may be read long after a cancel
			return err
		}
	}
	return s.Err()
}

// whole makes a call without a stream.
func (b *Backend) whole(ctx context.Context, in *bedrockruntime.ConverseInput, t *reading) error {
	out, err := b.client.Converse(ctx, in)
	if err != nil {
		return err
	}
	t.stop = out.StopReason
	t.usage = out.Usage
	msg, ok := out.Output.(*types.ConverseOutputMemberMessage)
	if !ok {
		return nil
	}
	for i, block := range msg.Value.Content {
		switch c := block.(type) {
		case *types.ContentBlockMemberText:
			err = t.turn.Text(c.Value)
		case *types.ContentBlockMemberReasoningContent:
			switch r := c.Value.(type) {
			case *types.ReasoningContentBlockMemberReasoningText:
				if err = t.turn.Reasoning(i, aws.ToString(r.Value.Text)); err == nil {
					err = t.turn.Sign(i, aws.ToString(r.Value.Signature))
				}
			case *types.ReasoningContentBlockMemberRedactedContent:
				err = t.turn.Redact(i, string(r.Value))
			}
		case *types.ContentBlockMemberToolUse:
			if t.noCalls {
				continue
			}
			args := []byte("{}")
			if c.Value.Input != nil {
				if args, err = c.Value.Input.MarshalSmithyDocument(); err != nil {
					return err
				}
			}
			err = t.turn.StartCall(i, aws.ToString(c.Value.ToolUseId), aws.ToString(c.Value.Name), string(args))
			t.turn.EndBlock(i)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// reading assembles one answer.
type reading struct {
	turn    *blocks.Turn
	model   string
	noCalls bool
	stop    types.StopReason
	usage   *types.TokenUsage
}

// add handles one event. Events and blocks of unknown kinds are skipped.
func (t *reading) add(e types.ConverseStreamOutput) error {
	switch e := e.(type) {
	case *types.ConverseStreamOutputMemberContentBlockStart:
		if tool, ok := e.Value.Start.(*types.ContentBlockStartMemberToolUse); ok && !t.noCalls {
			return t.turn.StartCall(int(aws.ToInt32(e.Value.ContentBlockIndex)), aws.ToString(tool.Value.ToolUseId), aws.ToString(tool.Value.Name), "")
		}
	case *types.ConverseStreamOutputMemberContentBlockDelta:
		switch d := e.Value.Delta.(type) {
		case *types.ContentBlockDeltaMemberText:
			return t.turn.Text(d.Value)
		case *types.ContentBlockDeltaMemberToolUse:
			return t.turn.Input(int(aws.ToInt32(e.Value.ContentBlockIndex)), aws.ToString(d.Value.Input))
		case *types.ContentBlockDeltaMemberReasoningContent:
			block := int(aws.ToInt32(e.Value.ContentBlockIndex))
			switch r := d.Value.(type) {
			case *types.ReasoningContentBlockDeltaMemberText:
				return t.turn.Reasoning(block, r.Value)
			case *types.ReasoningContentBlockDeltaMemberSignature:
				return t.turn.Sign(block, r.Value)
			case *types.ReasoningContentBlockDeltaMemberRedactedContent:
				return t.turn.Redact(block, string(r.Value))
			}
		}
	case *types.ConverseStreamOutputMemberContentBlockStop:
		t.turn.EndBlock(int(aws.ToInt32(e.Value.ContentBlockIndex)))
	case *types.ConverseStreamOutputMemberMessageStop:
		t.stop = e.Value.StopReason
	case *types.ConverseStreamOutputMemberMetadata:
		t.usage = e.Value.Usage
	}
	return nil
}

// end completes the turn. err is the cause of an early end. The usage comes last: with it and a stop reason the turn is complete.
func (t *reading) end(err error) (*backend.Response, error) {
	if err != nil && (t.stop == "" || t.usage == nil) {
		return nil, err
	}
	if t.stop == "" {
		return nil, transient("the stream ended without a stop reason")
	}
	finish, err := t.finish()
	if err != nil {
		return nil, err
	}
	resp := t.turn.End(finish, t.model, counted(t.usage))
	if r := resp.Message.Reasoning; r != nil {
		for i, b := range r.Blocks { // bytes here, text in a journal
			r.Blocks[i].Redacted = base64.StdEncoding.EncodeToString([]byte(b.Redacted))
		}
	}
	return resp, nil
}

func (t *reading) finish() (backend.FinishReason, error) {
	switch t.stop {
	case types.StopReasonEndTurn, types.StopReasonStopSequence:
		return backend.FinishStop, nil
	case types.StopReasonToolUse:
		return backend.FinishToolCalls, nil
	case types.StopReasonMaxTokens:
		return backend.FinishLength, nil
	case types.StopReasonGuardrailIntervened, types.StopReasonContentFiltered:
		return backend.FinishRefused, nil
	case types.StopReasonModelContextWindowExceeded:
		return "", &backend.Error{Class: backend.ContextTooLong, Status: http.StatusOK, Message: "the answer reached the end of the model's context window"}
	default: // malformed_model_output, malformed_tool_use
		return "", transient("the model ended the turn with \"" + endpoint.OneLine(string(t.stop)) + "\"")
	}
}

// counted adds up the token counts. Bedrock's inputTokens excludes the tokens read from and written to the cache.
func counted(u *types.TokenUsage) backend.Usage {
	if u == nil {
		return backend.Usage{CachedTokens: -1}
	}
	out := backend.Usage{
		PromptTokens:     int64(aws.ToInt32(u.InputTokens)) + int64(aws.ToInt32(u.CacheReadInputTokens)) + int64(aws.ToInt32(u.CacheWriteInputTokens)),
		CompletionTokens: int64(aws.ToInt32(u.OutputTokens)),
		CachedTokens:     -1,
	}
	if u.CacheReadInputTokens != nil {
		out.CachedTokens = int64(*u.CacheReadInputTokens)
	}
	return out
}

func transient(message string) *backend.Error {
	return &backend.Error{Class: backend.Transient, Status: http.StatusOK, Message: message}
}
