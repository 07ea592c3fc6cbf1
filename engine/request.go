package engine

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Limits of a request.
const (
	// maxStatement bounds the text of a statement without data. Beyond it the
	// request fails with QUERY_IS_TOO_LARGE; the engine's own max_query_size
	// (256 KiB unless set) usually speaks first.
	maxStatement = 16 << 20
	// insertProbe is how much of a body is read to find where an INSERT's text
	// ends and its data begin.
	insertProbe = 256 << 10
	// maxExternal bounds the external tables of a request.
	maxExternal = 256 << 20
	// maxInlineValues is how much inline VALUES text the engine parses with the
	// statement, where {name:Type} parameters work. Longer data are streamed.
	maxInlineValues = 1 << 20
)

// CompanyHeader asks for a session that sees one company's rows and may not
// write. See Config.RowFilters.
const CompanyHeader = "X-Gatehouse-Company"

// request is an HTTP request taken apart the way ClickHouse does it.
type request struct {
	text     string // the statement, with inline data if any
	data     io.Reader
	params   []param
	settings []param
	external []externalTable

	database string
	format   string // when the statement names none
	queryID  string
	company  string // "" is a trusted request

	session        string
	sessionTimeout time.Duration
	sessionCheck   bool

	revision   uint64 // client_protocol_version
	compress   bool   // answer in ClickHouse's compressed blocks
	zstdBlocks bool
	encoding   string // Content-Encoding of the answer
	waitForEnd bool
}

type externalTable struct {
	name, format, structure string
	data                    []byte
}

// urlOnly are URL parameters that are no settings.
var urlOnly = []string{
	"query", "database", "default_format", "query_id", "session_id", "session_timeout", "session_check", "close_session",
	"compress", "decompress", "client_protocol_version", "wait_end_of_query", "buffer_size",
	"quota_key", "role", "user", "password", "stacktrace", "enable_http_compression",
	"send_progress_in_http_headers", "http_headers_progress_interval_ms", "cancel_http_readonly_queries_on_client_close",
}

// companySettings are the settings that a company's session may choose. They
// bound or shape its own answer and reach no other rows.
var companySettings = []string{
	"max_execution_time", "max_result_rows", "max_result_bytes", "result_overflow_mode", "max_rows_to_read", "max_bytes_to_read",
	"read_overflow_mode", "max_threads", "max_memory_usage", "max_block_size", "extremes", "session_timezone", "join_use_nulls",
	"date_time_output_format", "output_format_json_quote_64bit_integers", "output_format_json_quote_denormals",
	"output_format_arrow_string_as_string", "output_format_parquet_string_as_string", "output_format_parquet_compression_method",
	"output_format_arrow_compression_method", "network_compression_method", "http_write_exception_in_output_format", "timeout_overflow_mode",
}

func truthy(v string) bool { return v == "1" || strings.EqualFold(v, "true") }

// parseRequest reads everything but an INSERT's data, which stay in data.
func parseRequest(r *http.Request) (*request, error) {
	q := r.URL.Query()
	req := &request{
		database:     first(r.Header.Get("X-ClickHouse-Database"), q.Get("database")),
		format:       first(r.Header.Get("X-ClickHouse-Format"), q.Get("default_format"), "TabSeparated"),
		queryID:      q.Get("query_id"),
		company:      r.Header.Get(CompanyHeader),
		session:      q.Get("session_id"),
		sessionCheck: truthy(q.Get("session_check")),
		compress:     truthy(q.Get("compress")),
		zstdBlocks:   strings.EqualFold(q.Get("network_compression_method"), "ZSTD"),
		waitForEnd:   truthy(q.Get("wait_end_of_query")),
	}
	if req.queryID == "" {
		req.queryID = newQueryID()
	}
	req.revision, _ = strconv.ParseUint(q.Get("client_protocol_version"), 10, 32)
	if req.session != "" {
		req.sessionTimeout = sessionTimeout(q.Get("session_timeout"))
	}
	if req.company != "" {
		if _, err := strconv.ParseUint(req.company, 10, 32); err != nil {
			return nil, raise(codeBadArguments, "BAD_ARGUMENTS", "%s is not a company number", CompanyHeader)
		}
	}
	if v := q.Get("enable_http_compression"); v != "0" && v != "false" {
		req.encoding = chooseEncoding(r.Header.Get("Accept-Encoding"))
	}
	body, err := decodeBody(r.Body, r.Header.Get("Content-Encoding"), truthy(q.Get("decompress")))
	if err != nil {
		return nil, err
	}
	text := q.Get("query")
	if mt, mp, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err == nil && mt == "multipart/form-data" {
		if err := req.readMultipart(multipart.NewReader(body, mp["boundary"]), q, &text); err != nil {
			return nil, err
		}
		body = http.NoBody
	}
	req.takeParams(q)
	return req, req.splitBody(text, body)
}

// takeParams sorts URL parameters into {name:Type} parameters and settings.
func (req *request) takeParams(q url.Values) {
	skip := map[string]bool{}
	for _, t := range req.external {
		skip[t.name+"_format"], skip[t.name+"_structure"], skip[t.name+"_types"] = true, true, true
	}
	names := make([]string, 0, len(q))
	for name := range q {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if p, ok := strings.CutPrefix(name, "param_"); ok {
			req.params = append(req.params, param{p, q.Get(name)})
		} else if !skip[name] && !slices.Contains(urlOnly, name) {
			req.settings = append(req.settings, param{name, q.Get(name)})
		}
	}
}

// splitBody finds out what of the body is statement and what is data.
func (req *request) splitBody(text string, body io.Reader) error {
	if text != "" {
		if st := parseStatement(text); st.insertData {
			req.text, req.data = text, body
			return nil
		}
		rest, err := readStatement(body, nil)
		if len(rest) > 0 {
			// ClickHouse reads the parameter and the body as one text.
			text += "\n" + string(rest)
		}
		req.text = text
		return err
	}
	probe := make([]byte, insertProbe)
	n, err := io.ReadFull(body, probe)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	probe = probe[:n]
	whole := err != nil
	if st := parseStatement(string(probe)); st.insertData {
		if whole && len(probe)-st.data <= maxInlineValues && st.format == "Values" {
			req.text = string(probe)
			return nil
		}
		// Only the text up to the data is the statement.
		req.text = string(probe[:st.data])
		req.data = io.MultiReader(bytes.NewReader(probe[st.data:]), body)
		return nil
	}
	if !whole {
		probe, err = readStatement(body, probe)
		if err != nil {
			return err
		}
	}
	req.text = string(probe)
	return nil
}

func readStatement(body io.Reader, head []byte) ([]byte, error) {
	rest, err := io.ReadAll(io.LimitReader(body, int64(maxStatement-len(head)+1)))
	if err != nil {
		return nil, err
	}
	head = append(head, rest...)
	if len(head) > maxStatement {
		return nil, raise(codeQueryTooLarge, "QUERY_IS_TOO_LARGE", "The statement is longer than %d bytes", maxStatement)
	}
	return head, nil
}

// readMultipart takes fields as URL parameters and files as external tables.
func (req *request) readMultipart(mr *multipart.Reader, q url.Values, text *string) error {
	left := int64(maxExternal)
	for {
		p, err := mr.NextPart()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		b, err := io.ReadAll(io.LimitReader(p, left+1))
		if err != nil {
			return err
		}
		if left -= int64(len(b)); left < 0 {
			return raise(codeQueryTooLarge, "QUERY_IS_TOO_LARGE", "External tables are longer than %d bytes", maxExternal)
		}
		name := p.FormName()
		switch {
		case p.FileName() != "" || q.Has(name+"_structure") || q.Has(name+"_types"):
			req.external = append(req.external, externalTable{
				name: name, data: b,
				format:    first(q.Get(name+"_format"), "TabSeparated"),
				structure: first(q.Get(name+"_structure"), typesStructure(q.Get(name+"_types"))),
			})
		case name == "query":
			*text += string(b)
		default:
			q.Set(name, string(b))
		}
	}
}

// typesStructure names the columns of a table given by types only, as ClickHouse does.
func typesStructure(types string) string {
	if types == "" {
		return ""
	}
	cols := strings.Split(types, ",")
	for i, t := range cols {
		cols[i] = "_" + strconv.Itoa(i+1) + " " + strings.TrimSpace(t)
	}
	return strings.Join(cols, ", ")
}

func first(s ...string) string {
	for _, v := range s {
		if v != "" {
			return v
		}
	}
	return ""
}

func newQueryID() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}
