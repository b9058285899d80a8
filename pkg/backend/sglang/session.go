package sglang

import (
	"context"
	"encoding/json"
	"net/http"
)

// CloseSession ends a session on its own goroutine. The server then drops the conversation from its cache before those of live
// sessions. It keeps conversations of sessions only with --enable-session-radix-cache. It answers 200 even for an unknown session.
func (b *Backend) CloseSession(session string) {
	if !b.set().Sessions || session == "" {
		return
	}
	b.closings.start(func() {
		ctx, cancel := context.WithTimeout(context.Background(), abortTimeout)
		defer cancel()
		body, _ := json.Marshal(map[string]string{"session_id": session}) // a string always encodes
		if _, err := b.Fetch(ctx, http.MethodPost, "/close_session", body); err != nil {
			b.log.Debug("could not end a session at the server; its cache keeps the conversation until it needs the room", "endpoint", b.Endpoint(),
				"session", session, "error", err)
		}
	})
}
