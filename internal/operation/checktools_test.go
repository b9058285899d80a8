package operation

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/fault"
	"github.com/batchagent/batchagent/internal/notice"
	"github.com/batchagent/batchagent/internal/serving"
	"github.com/batchagent/batchagent/internal/testredis"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
	"github.com/batchagent/batchagent/pkg/statestore"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

func TestSubmitRefusesToolsThatNoWorkerOffers(t *testing.T) {
	t.Parallel()
	url, _ := testredis.Mini(t)
	store, err := statestore.Open(t.Context(), url, statestore.Options{})
	require.NoError(t, err)
	defer store.Close()
	var codes []notice.Code
	s, err := Prepare(t.Context(), SubmitOptions{Spec: "../../examples/returns/batch.yaml", ToolsRoot: "../..", Stdin: strings.NewReader(""),
		Notify: func(n notice.Notice) { codes = append(codes, n.Code) }})
	require.NoError(t, err)
	defer s.Close()

	require.NoError(t, s.CheckTools(t.Context(), store))
	assert.Equal(t, []notice.Code{notice.ToolsUnknown}, codes)

	register := func(id string, tools ...string) {
		require.NoError(t, store.Register(t.Context(), batch.WorkerRecord{ID: id, Consumer: id, Tools: tools}, time.Minute))
	}
	register("a", "read_file", "files__read")
	err = s.CheckTools(t.Context(), store)
	require.ErrorContains(t, err, "the spec asks for the tool order_record; there are: files.read, read_file")
	assert.True(t, fault.IsUsage(err))
	register("b", "order_record")
	require.NoError(t, s.CheckTools(t.Context(), store))
	assert.Equal(t, []notice.Code{notice.ToolsUnknown, notice.ToolsSplit}, codes)
	codes = nil
	register("c", "read_file", "order_record")
	require.NoError(t, s.CheckTools(t.Context(), store))
	assert.Empty(t, codes)
}

func TestSpecMayNarrowToolSharingButNotWidenIt(t *testing.T) {
	t.Parallel()
	of := func(share string, ttl time.Duration) batch.WorkerRecord {
		return batch.WorkerRecord{Sharing: map[string]batch.ToolSharing{"files__read": {Share: share, TTL: ttl}}}
	}
	minute := &spec.Compiled{ToolSettings: map[string]spec.ToolSetting{"files.read": {Share: "ttl", TTL: time.Minute}}}
	for name, c := range map[string]struct {
		workers []batch.WorkerRecord
		refused string
	}{
		"narrower":                      {[]batch.WorkerRecord{of("pure", 0)}, ""},
		"as the tool":                   {[]batch.WorkerRecord{of("ttl", time.Minute)}, ""},
		"wider":                         {[]batch.WorkerRecord{of("inflight", 0)}, "tool files.read: its operator shares it as inflight, and share: ttl would be wider"},
		"longer":                        {[]batch.WorkerRecord{of("ttl", time.Second)}, "ttl: 1m0s would be longer"},
		"one worker allows it":          {[]batch.WorkerRecord{of("inflight", 0), of("pure", 0), of("inflight", 0)}, ""},
		"a worker without sharing data": {[]batch.WorkerRecord{{Tools: []string{"files__read"}}}, ""},
	} {
		err := Narrows(minute, c.workers)
		if c.refused == "" {
			assert.NoError(t, err, name)
		} else {
			assert.ErrorContains(t, err, c.refused, name)
		}
	}
}

func TestPreloadedToolMustHaveNoEffects(t *testing.T) {
	t.Parallel()
	compiled := &spec.Compiled{Preload: []spec.Preload{{Tool: "files.read"}}}
	of := func(share toolpool.Share) batch.WorkerRecord {
		return batch.WorkerRecord{Sharing: map[string]batch.ToolSharing{"files__read": {Share: string(share)}}}
	}
	require.NoError(t, Preloads(compiled, []batch.WorkerRecord{of(toolpool.Pure)}))
	require.NoError(t, Preloads(compiled, []batch.WorkerRecord{of(toolpool.Effect), of(toolpool.Inflight)}), "one worker can run it")
	require.ErrorContains(t, Preloads(compiled, []batch.WorkerRecord{of(toolpool.Effect)}), "the tool files.read has side effects")
}

func TestIdenticalJobsNeedRepeatableTools(t *testing.T) {
	t.Parallel()
	of := func(share toolpool.Share) batch.WorkerRecord {
		return batch.WorkerRecord{Sharing: map[string]batch.ToolSharing{"look": {Share: string(share), TTL: time.Minute}}}
	}
	once := &spec.Compiled{Tools: []string{"look"}, Identical: spec.IdenticalOnce}
	require.NoError(t, Repeatable(once, []batch.WorkerRecord{of(toolpool.Pure)}))
	require.NoError(t, Repeatable(once, []batch.WorkerRecord{of(toolpool.ForTTL)}))
	require.NoError(t, Repeatable(once, nil), "no worker is up")
	require.ErrorContains(t, Repeatable(once, []batch.WorkerRecord{of(toolpool.Inflight)}), "the tool look has share: inflight")
	require.ErrorContains(t, Repeatable(once, []batch.WorkerRecord{of(toolpool.Effect)}), "the tool look has share: effect")
	require.NoError(t, Repeatable(&spec.Compiled{Tools: []string{"look"}}, []batch.WorkerRecord{of(toolpool.Effect)}))
}

func TestStatusAcceptsEitherToolName(t *testing.T) {
	t.Parallel()
	w := batch.WorkerRecord{ID: "a", Ready: true, Tools: []string{"files__read"}}
	assert.Empty(t, serving.Obstacle(batch.Header{Tools: []string{"files.read"}}, w))
	assert.Empty(t, serving.Obstacle(batch.Header{Tools: []string{"files__read"}}, w))
	assert.Equal(t, "has no tool files.write", serving.Obstacle(batch.Header{Tools: []string{"files.write"}}, w))
}

type brokenLister struct{ err error }

func (b brokenLister) Workers(context.Context) ([]batch.WorkerRecord, error) { return nil, b.err }

// Only an outage may leave the tools unchecked: Submit waits for its end.
func TestToolsAreNotLeftUncheckedAfterAnError(t *testing.T) {
	t.Parallel()
	var codes []notice.Code
	s, err := Prepare(t.Context(), SubmitOptions{Spec: "../../examples/returns/batch.yaml", ToolsRoot: "../..", Stdin: strings.NewReader(""),
		Notify: func(n notice.Notice) { codes = append(codes, n.Code) }})
	require.NoError(t, err)
	defer s.Close()
	refused := errors.New("no permission")
	require.ErrorIs(t, s.CheckTools(t.Context(), brokenLister{refused}), refused)
	assert.Empty(t, codes)
	require.NoError(t, s.CheckTools(t.Context(), brokenLister{&fault.UnreachableError{Err: refused}}))
	assert.Equal(t, []notice.Code{notice.ToolsUnknown}, codes)
}
