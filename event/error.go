package event

import (
	"errors"
	"fmt"
	"net/http"
)

// Code classifies an error for the caller. The zero Code is not used.
type Code string

// The codes. Each stands for one HTTP status, see [Code.Status].
const (
	CodeInvalid      Code = "invalid"      // the request or a field of it is wrong
	CodeUnauthorized Code = "unauthorized" // no credentials, or bad ones
	CodeForbidden    Code = "forbidden"    // known caller, not allowed
	CodeNotFound     Code = "not_found"    // no such thing, or not the caller's to know of
	CodeConflict     Code = "conflict"     // exists already, or changed meanwhile
	CodeTooLarge     Code = "too_large"    // over a stated size
	CodeRateLimited  Code = "rate_limited" // over a stated rate
	CodeUnavailable  Code = "unavailable"  // try again later
	CodeInternal     Code = "internal"     // our fault
	CodeUnsupported  Code = "unsupported"  // a media type or encoding that is not taken
	CodeMethod       Code = "method"       // an HTTP method that the path does not take
)

var statusByCode = map[Code]int{
	CodeInvalid:      http.StatusBadRequest,
	CodeUnauthorized: http.StatusUnauthorized,
	CodeForbidden:    http.StatusForbidden,
	CodeNotFound:     http.StatusNotFound,
	CodeConflict:     http.StatusConflict,
	CodeTooLarge:     http.StatusRequestEntityTooLarge,
	CodeRateLimited:  http.StatusTooManyRequests,
	CodeUnavailable:  http.StatusServiceUnavailable,
	CodeInternal:     http.StatusInternalServerError,
	CodeUnsupported:  http.StatusUnsupportedMediaType,
	CodeMethod:       http.StatusMethodNotAllowed,
}

// Status is the HTTP status that goes with c; 500 for a code it does not know.
func (c Code) Status() int {
	if s, ok := statusByCode[c]; ok {
		return s
	}
	return http.StatusInternalServerError
}

// Error is the one error type that crosses package borders. Message is safe to
// show to the caller; Cause is for the log alone.
type Error struct {
	Code    Code
	Field   string // the input that was wrong, "" when it is not one input
	Message string // what was wrong and what to do, safe for the caller
	Cause   error  // never shown
	// Hidden marks a CodeNotFound that stands for something of which the caller may not know. The log tells it apart from a slip; the error's words
	// are the same for both.
	Hidden bool
}

// Error gives the message, then the cause: for logs, not for callers.
func (e *Error) Error() string {
	s := e.Message
	if e.Field != "" {
		s = e.Field + ": " + s
	}
	if e.Cause != nil {
		s += ": " + e.Cause.Error()
	}
	return s
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Errorf makes an Error of a code with a formatted, caller-safe message.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// FieldError makes an [CodeInvalid] Error about one input field.
func FieldError(field, format string, args ...any) *Error {
	return &Error{Code: CodeInvalid, Field: field, Message: fmt.Sprintf(format, args...)}
}

// Wrap makes an Error of a code with a caller-safe message around a cause.
func Wrap(code Code, cause error, message string) *Error {
	return &Error{Code: code, Message: message, Cause: cause}
}

// Refusal is what kind of refusal an error is, for logs: empty where nobody was kept from anything.
func Refusal(err error) string {
	var e *Error
	switch code := ErrorCode(err); {
	case code == CodeUnauthorized || code == CodeForbidden || code == CodeRateLimited:
		return string(code)
	case code == CodeNotFound && errors.As(err, &e) && e.Hidden:
		return "hidden"
	}
	return ""
}

// ErrorCode is the code of the first Error in err's chain, [CodeInternal] when
// there is none and "" for a nil err.
func ErrorCode(err error) Code {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return CodeInternal
}

// ErrorMessage is what may be shown to the caller: the message of the first
// Error in err's chain, else the words "internal error".
func ErrorMessage(err error) string {
	var e *Error
	if errors.As(err, &e) && e.Code != CodeInternal {
		return e.Message
	}
	return "internal error"
}
