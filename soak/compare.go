package soak

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"gatehouse/bench"
)

// snapshot is every report of a company, by its path.
type snapshot map[string][]byte

// generated are the parts of a report that are meant to differ: when it was made, which the cursor of its next page holds too.
var generated = regexp.MustCompile(`,?"(generated_at|next_cursor)":"[^"]*"`)

// takeSnapshot asks every report that the API's own description lists, whole, page by page.
func takeSnapshot(ctx context.Context, client *http.Client, base, key string, params url.Values) (snapshot, error) {
	text, err := bench.Get(ctx, client, base+"/api/openapi.json", key)
	if err != nil {
		return nil, err
	}
	var api struct {
		Paths map[string]map[string]struct {
			Parameters []struct {
				Name string `json:"name"`
				Ref  string `json:"$ref"`
			} `json:"parameters"`
		} `json:"paths"`
	}
	if err := json.Unmarshal(text, &api); err != nil {
		return nil, err
	}
	shot := snapshot{}
	for path, methods := range api.Paths {
		get, ok := methods["get"]
		events := path == "/api/v1/events" || strings.HasPrefix(path, "/api/v1/reports/")
		if !ok || !events || strings.Contains(path, "{") {
			continue
		}
		q := url.Values{}
		for _, p := range get.Parameters {
			name := p.Name
			if name == "" {
				name = p.Ref[strings.LastIndexByte(p.Ref, '/')+1:]
			}
			if v := params.Get(name); v != "" {
				q.Set(name, v)
			}
		}
		if shot[path], err = wholeReport(ctx, client, base+path, key, q); err != nil {
			return nil, err
		}
	}
	return shot, nil
}

// wholeReport puts the pages of a report behind each other.
func wholeReport(ctx context.Context, client *http.Client, address, key string, q url.Values) ([]byte, error) {
	var whole []byte
	for {
		text, err := bench.Get(ctx, client, address+"?"+q.Encode(), key)
		if err != nil {
			return nil, err
		}
		whole = append(whole, generated.ReplaceAll(text, nil)...)
		var page struct {
			Next string `json:"next_cursor"`
		}
		if err := json.Unmarshal(text, &page); err != nil {
			return nil, err
		}
		if page.Next == "" {
			return whole, nil
		}
		q.Set("cursor", page.Next)
	}
}

// differences tells what differs between two snapshots, one line for each report.
func (s snapshot) differences(t snapshot) []string {
	var out []string
	for path, a := range s {
		b, ok := t[path]
		switch {
		case !ok:
			out = append(out, path+": only in the first")
		case !bytes.Equal(a, b):
			at := 0
			for at < min(len(a), len(b)) && a[at] == b[at] {
				at++
			}
			out = append(out, fmt.Sprintf("%s: %d and %d bytes, first difference at %d:\n  %.300s\n  %.300s", path, len(a), len(b), at, a[max(0, at-80):], b[max(0, at-80):]))
		}
	}
	for path := range t {
		if _, ok := s[path]; !ok {
			out = append(out, path+": only in the second")
		}
	}
	slices.Sort(out)
	return out
}
