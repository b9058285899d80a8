package vllmsim

import (
	"fmt"
	"net/http"
	"strconv"

	"github.com/batchagent/batchagent/pkg/vllmsim/internal/sample"
)

func (s *Server) health(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }

func (s *Server) version(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, []byte(`{"version":"`+Version+`"}`))
}

// load answers like a real server that was started without request counting.
func (s *Server) load(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, []byte(`{"server_load":0}`))
}

func (s *Server) models(w http.ResponseWriter, _ *http.Request) {
	created := strconv.FormatInt(s.born.Unix(), 10)
	id := sample.AppendString(nil, s.cfg.Model)
	writeJSON(w, http.StatusOK, fmt.Appendf(nil, `{"object":"list","data":[{"id":%s,"object":"model","created":%s,"owned_by":%q,"root":%s,`+
		`"parent":null,"max_model_len":%d,"permission":[{"id":"modelperm-%016x","object":"model_permission","created":%s,`+
		`"allow_create_engine":false,"allow_sampling":true,"allow_logprobs":true,"allow_search_indices":false,"allow_view":true,`+
		`"allow_fine_tuning":false,"organization":"*","group":null,"is_blocking":false}]}]}`,
		id, created, OwnedBy, id, s.cfg.MaxModelLen, mix(s.cfg.Seed+1), created))
}

// tokenizeRequest has either a prompt or messages.
type tokenizeRequest struct {
	chatRequest

	Prompt           *string `json:"prompt"`
	AddGeneration    *bool   `json:"add_generation_prompt"` // Defaults to true.
	ReturnTokenTexts bool    `json:"return_token_strs"`
}

// tokenize counts tokens like usage does, even beyond the context window.
func (s *Server) tokenize(w http.ResponseWriter, r *http.Request) {
	req := &tokenizeRequest{}
	err := s.readBody(w, r, req)
	if err == nil {
		err = s.knownModel(req.Model)
	}
	if err == nil && req.Prompt == nil && req.Messages == nil {
		err = badBody("body", "1 validation error:\n  {'type': 'missing', 'loc': 'body.prompt', 'msg': 'Field required'}")
	}
	if err != nil {
		err.write(w)
		return
	}
	c := chain{record: true}
	if req.Prompt != nil {
		c.text(*req.Prompt)
	} else {
		if !present(req.Tools) {
			req.Tools = nil
		}
		render(&c, req.Messages, req.Tools, req.AddGeneration == nil || *req.AddGeneration)
	}
	writeJSON(w, http.StatusOK, appendTokens(nil, &c, s.cfg.MaxModelLen, req.ReturnTokenTexts))
}

func appendTokens(dst []byte, c *chain, window int, texts bool) []byte {
	dst = fmt.Appendf(dst, `{"count":%d,"max_model_len":%d,"tokens":[`, c.tokens, window)
	for i, id := range c.ids {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = strconv.AppendInt(dst, int64(id), 10)
	}
	dst = append(dst, `],"token_strs":`...)
	if !texts {
		return append(dst, "null}"...)
	}
	dst = append(dst, '[')
	for i, text := range c.strs {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = sample.AppendString(dst, text)
	}
	return append(dst, "]}"...)
}
