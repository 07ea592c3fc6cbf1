package query

import (
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

// writeJSON writes an answer. An empty list of rows is [], never null.
func writeJSON(w http.ResponseWriter, status int, answer any) error {
	if rows := rowsOf(answer); rows.IsValid() && rows.IsNil() && rows.CanSet() {
		rows.Set(reflect.MakeSlice(rows.Type(), 0, 0))
	}
	body, err := json.Marshal(answer)
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, err = w.Write(append(body, '\n'))
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

// writeCSV writes the rows of an answer as RFC 4180 with a header line. Columns
// that no row has are left out. The cursor of the next page is in the header
// X-Next-Cursor.
func writeCSV(w http.ResponseWriter, name string, answer any) error {
	rows := rowsOf(answer)
	if !rows.IsValid() {
		return writeJSON(w, http.StatusOK, answer)
	}
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
	h := w.Header()
	h.Set("Content-Type", "text/csv; charset=utf-8; header=present")
	h.Set("Content-Disposition", `attachment; filename="`+name+`.csv"`)
	if next := reflect.Indirect(reflect.ValueOf(answer)).FieldByName("NextCursor"); next.IsValid() && next.String() != "" {
		h.Set("X-Next-Cursor", next.String())
	}
	out := csv.NewWriter(w)
	out.UseCRLF = true
	line := make([]string, len(columns))
	for i, c := range columns {
		line[i] = c.name
	}
	if err := out.Write(line); err != nil {
		return err
	}
	for i := range rows.Len() {
		row := rows.Index(i)
		for j, c := range columns {
			text, err := cell(row.Field(c.index))
			if err != nil {
				return err
			}
			line[j] = text
		}
		if err := out.Write(line); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
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
