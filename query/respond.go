package query

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"

	"gatehouse/event"
	"gatehouse/internal/nearest"
)

func unknownReport(name string) *event.Error {
	if len(name) > 64 {
		name = strings.ToValidUTF8(name[:64], "") + "…"
	}
	var names []string
	for _, r := range ListReports() {
		names = append(names, r.Spec.Name)
	}
	if near := nearest.Names(name, names, 1); len(near) > 0 {
		return event.Errorf(event.CodeNotFound, "there is no report %q; did you mean %s?", name, near[0])
	}
	return event.Errorf(event.CodeNotFound, "there is no report %q; the reports are %s", name, strings.Join(names, ", "))
}

// encodeJSON is the body of an answer. An empty list of rows is [], never null.
func encodeJSON(answer any) ([]byte, error) {
	if rows := rowsOf(answer); rows.IsValid() && rows.IsNil() && rows.CanSet() {
		rows.Set(reflect.MakeSlice(rows.Type(), 0, 0))
	}
	body, err := json.Marshal(answer)
	if err != nil {
		return nil, fmt.Errorf("encode answer: %w", err)
	}
	return append(body, '\n'), nil
}

// writeJSON writes a body that encodeJSON made.
func writeJSON(w http.ResponseWriter, status int, body []byte) error {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, err := w.Write(body) //nolint:gosec // JSON, and said to be that
	return err
}

// rowsOf is the field Rows of an answer, invalid when it has none.
func rowsOf(answer any) reflect.Value {
	v := reflect.Indirect(reflect.ValueOf(answer))
	if v.Kind() != reflect.Struct {
		return reflect.Value{}
	}
	return v.FieldByName("Rows")
}

// column is one field of a row.
type column struct {
	name     string
	index    int
	optional bool
}

func columnsOf(row reflect.Type) []column {
	var out []column
	for i := range row.NumField() {
		f := row.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || name == "" || name == "-" {
			continue
		}
		out = append(out, column{name: name, index: i, optional: strings.Contains(options, "omit")})
	}
	return out
}

// encodeCSV is the rows of an answer as RFC 4180 with a header line. Columns that no row
// has are left out.
func encodeCSV(rows reflect.Value) ([]byte, error) {
	var columns []column
	for _, c := range columnsOf(rows.Type().Elem()) {
		used := !c.optional || rows.Len() == 0
		for i := 0; i < rows.Len() && !used; i++ {
			used = !rows.Index(i).Field(c.index).IsZero()
		}
		if used {
			columns = append(columns, c)
		}
	}
	var body bytes.Buffer
	out := csv.NewWriter(&body)
	out.UseCRLF = true
	line := make([]string, len(columns))
	for i, c := range columns {
		line[i] = c.name
	}
	if err := out.Write(line); err != nil {
		return nil, err
	}
	for i := range rows.Len() {
		row := rows.Index(i)
		for j, c := range columns {
			text, err := cell(row.Field(c.index))
			if err != nil {
				return nil, err
			}
			line[j] = text
		}
		if err := out.Write(line); err != nil {
			return nil, err
		}
	}
	out.Flush()
	return body.Bytes(), out.Error()
}

// writeAnswer writes an answer in the form asked for, once the whole of it is made: an
// error before that leaves w as it was. The cursor of a CSV's next page is in the
// header X-Next-Cursor.
func writeAnswer(w http.ResponseWriter, name string, format Format, answer any) (begun bool, err error) {
	rows := rowsOf(answer)
	if format != FormatCSV || !rows.IsValid() {
		body, err := encodeJSON(answer)
		if err != nil {
			return false, err
		}
		return true, writeJSON(w, http.StatusOK, body)
	}
	body, err := encodeCSV(rows)
	if err != nil {
		return false, err
	}
	h := w.Header()
	h.Set("Content-Type", "text/csv; charset=utf-8; header=present")
	h.Set("Content-Disposition", `attachment; filename="`+name+`.csv"`)
	if next := reflect.Indirect(reflect.ValueOf(answer)).FieldByName("NextCursor"); next.IsValid() && next.String() != "" {
		h.Set("X-Next-Cursor", next.String())
	}
	_, err = w.Write(body) //nolint:gosec // a CSV to be saved, and said to be that
	return true, err
}

// cell is a value as a cell of a spreadsheet.
func cell(v reflect.Value) (string, error) {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return "", nil
		}
		v = v.Elem()
	}
	switch x := v.Interface().(type) {
	case string:
		return harmless(x), nil
	case bool:
		return strconv.FormatBool(x), nil
	case float64:
		return strconv.FormatFloat(x, 'f', -1, 64), nil
	case time.Time:
		if x.IsZero() {
			return "", nil
		}
		return x.Format(time.RFC3339Nano), nil
	case []string:
		return harmless(strings.Join(x, " ")), nil
	}
	if v.CanInt() || v.CanUint() {
		return fmt.Sprint(v.Interface()), nil
	}
	body, err := json.Marshal(v.Interface())
	if err != nil {
		return "", fmt.Errorf("encode cell: %w", err)
	}
	return string(body), nil // begins with [ or {
}

// harmless keeps a spreadsheet from running a text as a formula: names come
// from clients, and somebody will open the file. A quote in front is what
// spreadsheets themselves use.
func harmless(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r\n", rune(s[0])) {
		return "'" + s
	}
	return s
}
