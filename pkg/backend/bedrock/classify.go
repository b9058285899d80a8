package bedrock

import (
	"cmp"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/endpoint"
	"github.com/batchagent/batchagent/pkg/redact"
	"github.com/batchagent/batchagent/pkg/retryafter"
)

const credentialsHint = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, AWS_BEARER_TOKEN_BEDROCK or a role"

// credentialsError reports that no credentials were found.
type credentialsError struct{ err error }

func (e *credentialsError) Error() string { return e.err.Error() }
func (e *credentialsError) Unwrap() error { return e.err }

// classify converts the SDK's error into one without an endpoint. It returns nil without an answer from the service:
// the network failed. Secrets are redacted in messages before they are cut.
func classify(err error, secrets *redact.Secrets, now time.Time) *backend.Error {
	if ce, ok := errors.AsType[*credentialsError](err); ok || noIdentity(err) {
		if ok {
			err = ce.err
		}
		return &backend.Error{Class: backend.Auth, Message: "no AWS credentials: " + endpoint.OneLine(secrets.Text(err.Error())) + "; " + credentialsHint}
	}
	out := &backend.Error{}
	var header http.Header
	if re, ok := errors.AsType[*smithyhttp.ResponseError](err); ok && re.Response != nil {
		out.Status = re.HTTPStatusCode()
		header = re.Response.Header
	}
	var said smithy.APIError
	if !errors.As(err, &said) && out.Status == 0 {
		return nil
	}
	code, message := "", ""
	if said != nil {
		code, message = secrets.Text(said.ErrorCode()), secrets.Text(said.ErrorMessage())
	}
	if out.Status == http.StatusOK && code == "" {
		return nil // the stream broke
	}
	if _, name, ok := strings.Cut(code, "#"); ok {
		code = name
	}
	out.Class = class(code, strings.ToLower(message), out.Status)
	out.RetryAfter = retryafter.Read(header, now)
	if out.Class == backend.ContextTooLong {
		o, _ := endpoint.ReadOverflow(message, true)
		out.Window = o.Window
	}
	out.Message = cmp.Or(endpoint.OneLine(message), endpoint.OneLine(code), http.StatusText(out.Status))
	if out.Class == backend.Auth {
		out.Message += "; check the AWS credentials and their permission for bedrock:InvokeModel and bedrock:InvokeModelWithResponseStream"
	}
	return out
}

// noIdentity reports whether the SDK had no credentials. The SDK has no error type for that.
func noIdentity(err error) bool {
	oe, ok := errors.AsType[*smithy.OperationError](err)
	return ok && oe.Err != nil && strings.Contains(oe.Err.Error(), "get identity")
}

// class decides by the exception's name, and by the message if a name has several meanings.
func class(code, words string, status int) backend.Class {
	_, overflows := endpoint.ReadOverflow(words, status < http.StatusInternalServerError)
	switch {
	case strings.Contains(words, "too many tokens per day"):
		return backend.QuotaExhausted
	case overflows:
		return backend.ContextTooLong
	case endpoint.Mentions(words, "model identifier is invalid", "on-demand throughput", "invalid model identifier", "end of its life"):
		return backend.UnknownModel
	}
	switch code {
	case "ThrottlingException", "TooManyRequestsException", "Throttling", "RequestLimitExceeded", "LimitExceededException":
		return backend.RateLimited
	case "ServiceUnavailableException", "ModelNotReadyException":
		return backend.Overloaded
	case "InternalServerException", "ModelTimeoutException", "ModelErrorException", "ModelStreamErrorException", "ConflictException", "RequestTimeout":
		return backend.Transient
	case "ServiceQuotaExceededException":
		return backend.QuotaExhausted
	case "ResourceNotFoundException":
		return backend.UnknownModel
	case "AccessDeniedException", "UnrecognizedClientException", "InvalidSignatureException", "SignatureDoesNotMatch", "ExpiredTokenException",
		"ExpiredToken", "MissingAuthenticationTokenException", "InvalidClientTokenId", "IncompleteSignature", "NotAuthorized":
		return backend.Auth
	case "ValidationException", "UnknownOperationException":
		return backend.InvalidRequest
	}
	switch {
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return backend.Auth
	case status == http.StatusNotFound:
		return backend.InvalidRequest
	case status == http.StatusRequestEntityTooLarge:
		return backend.ContextTooLong
	case status == http.StatusTooManyRequests:
		return backend.RateLimited
	case status == http.StatusServiceUnavailable:
		return backend.Overloaded
	case status == http.StatusRequestTimeout, status == http.StatusConflict, status == http.StatusFailedDependency,
		status >= http.StatusInternalServerError, status < http.StatusMultipleChoices:
		return backend.Transient
	}
	return backend.InvalidRequest
}

// The abilities that a model may refuse.
const (
	streaming = "streaming"
	caching   = "cache points"
	schemas   = "schemas"
	reasoning = "reasoning in a conversation"
)

// refused returns the ability that the model refuses, or "".
func refused(e *backend.Error) string {
	words := strings.ToLower(e.Message)
	switch {
	case e.Class == backend.Auth && strings.Contains(words, "not authorized to perform: bedrock:invokemodelwithresponsestream"):
		return streaming
	case e.Class != backend.InvalidRequest:
		return ""
	case endpoint.Mentions(words, "streaming", "conversestream", "responsestream"):
		return streaming
	case endpoint.Mentions(words, "cachepoint", "cache point", "caching"):
		return caching
	case endpoint.Mentions(words, "reasoningcontent", "reasoning content", "reasoningtext", "thinking block", "signature"):
		return reasoning
	case endpoint.Mentions(words, "outputconfig", "output_config", "structured output", "schema", "strict"):
		return schemas
	}
	return ""
}
