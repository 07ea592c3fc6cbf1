package rest

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"gatehouse/event"
)

type sample struct {
	Name  string    `json:"name"`
	Age   int       `json:"age"`
	On    *bool     `json:"on"`
	End   time.Time `json:"end"`
	Tags  []string  `json:"tags"`
	Inner struct {
		Deep string `json:"deep"`
	} `json:"inner"`
}

func read(body, contentType string) (sample, error) {
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	var s sample
	err := readBody(httptest.NewRecorder(), r, &s)
	return s, err
}

func TestReadBody(t *testing.T) {
	t.Parallel()
	got, err := read(`{"name":"a","age":3,"on":true,"tags":["x"],"inner":{"deep":"y"}}`, "application/json; charset=utf-8")
	if err != nil || got.Name != "a" || got.Age != 3 || got.On == nil || !*got.On || got.Tags[0] != "x" || got.Inner.Deep != "y" {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := read(`{"name":"a\\u0000"}`, "application/json"); err != nil || got.Name != `a\u0000` {
		t.Errorf("an escaped backslash: %+v, %v", got, err)
	}
	if got, err := read("", ""); err != nil || got.Name != "" {
		t.Errorf("no body: %+v, %v", got, err)
	}
	for _, c := range []struct {
		body, kind string
		code       event.Code
		field      string
	}{
		{`{"role":"GlobalAdmin"}`, "application/json", event.CodeInvalid, "role"},
		{`{"inner":{"secretly":1}}`, "application/json", event.CodeInvalid, "secretly"},
		{`{"NAME":"a"}`, "application/json", event.CodeInvalid, "NAME"},
		{`{"name":"a","name":"b"}`, "application/json", event.CodeInvalid, "name"},
		{`{"name":5}`, "application/json", event.CodeInvalid, "name"},
		{`{"age":"x"}`, "application/json", event.CodeInvalid, "age"},
		{`{"age":1.5}`, "application/json", event.CodeInvalid, "age"},
		{`{"age":99999999999999999999}`, "application/json", event.CodeInvalid, "age"},
		{`{"name":"a"}{}`, "application/json", event.CodeInvalid, ""},
		{`{"name":"a"`, "application/json", event.CodeInvalid, ""},
		{"{\"name\":\"\xff\"}", "application/json", event.CodeInvalid, ""},
		{`[]`, "application/json", event.CodeInvalid, ""},
		{`{"name":"a\u0000b"}`, "application/json", event.CodeInvalid, ""},
		{`{"name":"a\\\u0000b"}`, "application/json", event.CodeInvalid, ""},
		{`{"end":"tomorrow"}`, "application/json", event.CodeInvalid, "end"},
		{`name=a`, "application/x-www-form-urlencoded", event.CodeUnsupported, ""},
		{`{"name":"a"}`, "text/plain", event.CodeUnsupported, ""},
		{`{"name":"a"}`, "", event.CodeUnsupported, ""},
		{`{"name":"` + strings.Repeat("a", maxBody) + `"}`, "application/json", event.CodeTooLarge, ""},
	} {
		_, err := read(c.body, c.kind)
		var e *event.Error
		if !errors.As(err, &e) || e.Code != c.code || e.Field != c.field {
			t.Errorf("%.60s: %v, want %s of %q", c.body, err, c.code, c.field)
		}
	}
	if _, err := read(`{"age":"hunter2"}`, "application/json"); strings.Contains(event.ErrorMessage(err), "hunter2") {
		t.Errorf("the message repeats the value: %v", err)
	}
}

func FuzzReadBody(f *testing.F) {
	f.Add(`{"name":"a","age":3}`)
	f.Add(`{"inner":{"deep":[]}}`)
	f.Fuzz(func(t *testing.T, body string) {
		got, err := read(body, "application/json")
		if err != nil {
			if event.ErrorCode(err) == event.CodeInternal {
				t.Errorf("%q: %v", body, err)
			}
			return
		}
		if body == "" {
			return
		}
		// What is accepted means the same to the standard library, which is more lenient.
		var other sample
		if err := json.Unmarshal([]byte(body), &other); err != nil || other.Name != got.Name || other.Age != got.Age {
			t.Errorf("%q: %+v, and %+v, %v", body, got, other, err)
		}
	})
}

func FuzzLocalPath(f *testing.F) {
	for _, s := range []string{
		"/", "/a?b=c#d", "//evil", "/\\evil", "\\\\evil", "https://evil", "/%2f%2fevil", "/%5cevil", "javascript:alert(1)", "/\tevil", "/a//b", "/../evil", "/%2e%2e//evil",
		"/x?next=//evil", "@evil", "/@evil", "http:/evil", "///evil", "/;//evil", "/.//evil", "/./evil",
	} {
		f.Add(s)
	}
	base := &url.URL{Scheme: "https", Host: "gatehouse.example", Path: "/login"}
	f.Fuzz(func(t *testing.T, next string) {
		got := LocalPath(next)
		// Read as a browser does: relative to the page it is on, with \ taken for /, and tabs and line ends removed.
		as := strings.NewReplacer("\\", "/", "\t", "", "\n", "", "\r", "").Replace(got)
		u, err := base.Parse(as)
		if err != nil || u.Host != base.Host || u.Scheme != base.Scheme || u.User != nil || got[0] != '/' || strings.HasPrefix(as, "//") {
			t.Errorf("%q leads to %q", next, got)
		}
		if again := LocalPath(got); again != got {
			t.Errorf("%q becomes %q, then %q", next, got, again)
		}
	})
}

func TestLocalPath(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"/": "/", "/reports?a=b": "/reports?a=b", "": "/", "reports": "/", "//evil": "/", "/\\evil": "/", "https://evil/": "/", "/a\nb": "/",
		"/%2f%2fevil": "/", "/%2Fevil": "/", "/a/../..//evil": "/",
	} {
		if got := LocalPath(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
