package rest

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"gatehouse/event"
)

// maxBody is the longest body of a request about accounts: the largest is a passkey's attestation. More is answered with 413.
const maxBody = 64 << 10

// readBody reads a request's JSON body into into, strictly: a field that into does not have is refused by name, so that nobody sets
// what they may not by guessing its name; so are a field given twice and anything after the value. A request without a body
// leaves into as it is where every field may be left out.
func readBody(w http.ResponseWriter, r *http.Request, into any) error {
	if kind := r.Header.Get("Content-Type"); kind != "" || r.ContentLength != 0 {
		// The type is part of the protection against other sites: a form cannot send it.
		media, _, err := mime.ParseMediaType(kind)
		if err != nil || media != "application/json" {
			return event.Errorf(event.CodeUnsupported, "send the body as JSON, with Content-Type: application/json")
		}
	}
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return event.Errorf(event.CodeTooLarge, "the body is longer than %d bytes", maxBody)
	}
	if err != nil {
		return event.Wrap(event.CodeInvalid, err, "the body could not be read to its end")
	}
	if len(text) == 0 {
		text = []byte("{}")
	}
	if holdsNUL(text) {
		return event.Errorf(event.CodeInvalid, "a text in the body holds the character U+0000, which nothing here takes")
	}
	if err := json.Unmarshal(text, into, json.RejectUnknownMembers(true)); err != nil {
		return bodyError(err)
	}
	return nil
}

// holdsNUL tells whether a text of the JSON holds the character 0, which databases refuse or cut at. As a byte JSON does not take it itself.
func holdsNUL(text []byte) bool {
	escape := []byte(`\u0000`)
	for at := bytes.Index(text, escape); at >= 0; {
		before := at
		for before > 0 && text[before-1] == '\\' {
			before--
		}
		if (at-before)%2 == 0 { // else the backslash is itself escaped
			return true
		}
		at += 1 // past it
		next := bytes.Index(text[at:], escape)
		if next < 0 {
			return false
		}
		at += next
	}
	return false
}

// bodyError names the field and what is wrong with it; the value, which may be a password, is never repeated.
func bodyError(err error) error {
	var semantic *json.SemanticError
	if errors.As(err, &semantic) {
		field := fieldOf(semantic.JSONPointer)
		if errors.Is(err, json.ErrUnknownName) {
			return &event.Error{Code: event.CodeInvalid, Field: field, Message: "there is no such field here", Cause: err}
		}
		if own, ok := errors.AsType[*event.Error](semantic.Err); ok {
			return own
		}
		what := "has the wrong type"
		switch {
		case semantic.GoType == reflect.TypeFor[time.Time]():
			what = "must be a time such as 2027-01-31T00:00:00Z"
		case semantic.GoType != nil:
			what = "must be " + typeName(semantic.GoType.Kind().String())
		}
		return &event.Error{Code: event.CodeInvalid, Field: field, Message: what, Cause: err}
	}
	var syntactic *jsontext.SyntacticError
	if errors.As(err, &syntactic) && errors.Is(err, jsontext.ErrDuplicateName) {
		return &event.Error{Code: event.CodeInvalid, Field: fieldOf(syntactic.JSONPointer), Message: "is given twice", Cause: err}
	}
	return &event.Error{Code: event.CodeInvalid, Message: "the body is not valid JSON", Cause: err}
}

// fieldOf is the last name of a JSON pointer.
func fieldOf(p jsontext.Pointer) string { return shown(p.LastToken()) }

// shown is a name that the client chose, as an answer may repeat it.
func shown(name string) string {
	name = strings.ToValidUTF8(name, "\uFFFD")
	const limit = 64
	if len(name) > limit {
		name = strings.ToValidUTF8(name[:limit], "") + "…"
	}
	return name
}

func typeName(kind string) string {
	switch {
	case kind == "string":
		return "a text"
	case kind == "bool":
		return "true or false"
	case kind == "slice" || kind == "array":
		return "a list"
	case strings.HasPrefix(kind, "int") || strings.HasPrefix(kind, "uint") || strings.HasPrefix(kind, "float"):
		return "a number"
	}
	return "an object"
}
