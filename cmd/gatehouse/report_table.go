package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// The parts of a JSON object that keep their order, so that tables have their
// columns in the order of the report.
type (
	jsonField struct {
		name  string
		value any // string, json.Number, bool, nil, []any, jsonObject
	}
	jsonObject []jsonField
)

func (o jsonObject) get(name string) any {
	for _, f := range o {
		if f.name == name {
			return f.value
		}
	}
	return nil
}

// readReport reads the JSON of a report.
func readReport(r io.Reader) (jsonObject, error) {
	d := json.NewDecoder(r)
	d.UseNumber()
	v, err := readValue(d)
	if err != nil {
		return nil, err
	}
	o, ok := v.(jsonObject)
	if !ok {
		return nil, fmt.Errorf("it is no object")
	}
	return o, nil
}

func readValue(d *json.Decoder) (any, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch token {
	case json.Delim('{'):
		o := jsonObject{}
		for d.More() {
			name, err := d.Token()
			if err != nil {
				return nil, err
			}
			value, err := readValue(d)
			if err != nil {
				return nil, err
			}
			o = append(o, jsonField{fmt.Sprint(name), value})
		}
		_, err := d.Token()
		return o, err
	case json.Delim('['):
		list := []any{}
		for d.More() {
			value, err := readValue(d)
			if err != nil {
				return nil, err
			}
			list = append(list, value)
		}
		_, err := d.Token()
		return list, err
	}
	return token, nil
}

// print writes a report for people: its heading, its figures, its tables. It
// gives the cursor of the next page.
func (o jsonObject) print(w io.Writer, name string) (next string, err error) {
	p := &printer{w: w}
	heading := fmt.Sprintf("%s: %s", show("report", o.get("report")), show("company", o.get("company")))
	if at := o.get("at"); at != nil {
		heading += ", at " + show("at", at)
	} else {
		heading += fmt.Sprintf(", %s to %s", show("from", o.get("from")), show("to", o.get("to")))
	}
	p.line(heading + " (" + show("tz", o.get("tz")) + ")")

	var figures []jsonField
	for _, f := range o {
		switch f.value.(type) {
		case []any, jsonObject:
			continue
		}
		switch f.name {
		case "report", "company", "from", "to", "tz", "at", "generated_at", "next_cursor":
			continue
		}
		figures = append(figures, f)
	}
	if len(figures) > 0 {
		p.line("")
		width := 0
		for _, f := range figures {
			width = max(width, utf8.RuneCountInString(title(f.name)))
		}
		for _, f := range figures {
			p.line(pad(title(f.name), width, false) + "  " + show(f.name, f.value))
		}
	}
	for _, f := range o {
		list, ok := f.value.([]any)
		if !ok || f.name == "group_by" {
			continue
		}
		table := name
		if f.name != "rows" {
			if len(list) == 0 {
				continue
			}
			table += "/" + f.name
			p.line("")
			p.line(strings.ToUpper(f.name[:1]) + f.name[1:])
		}
		p.line("")
		p.table(table, list)
	}
	if s, ok := o.get("next_cursor").(string); ok {
		next = s
	}
	return next, p.err
}

// printer writes lines and keeps the first error.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(s string) {
	if p.err == nil {
		_, p.err = fmt.Fprintln(p.w, strings.TrimRight(s, " "))
	}
}

// table writes rows in aligned columns. A column that no row has a value for is left out.
func (p *printer) table(name string, rows []any) {
	if len(rows) == 0 {
		p.line("no rows")
		return
	}
	var columns []string
	used := map[string]bool{}
	for _, row := range rows {
		o, _ := row.(jsonObject)
		for i, f := range o {
			if !slices.Contains(columns, f.name) && hasColumn(name, f.name) {
				// Where earlier rows left it out, its place is after its neighbour.
				at := len(columns)
				if i > 0 {
					if n := slices.Index(columns, o[i-1].name); n >= 0 {
						at = n + 1
					}
				}
				columns = slices.Insert(columns, at, f.name)
			}
			if f.value != nil {
				used[f.name] = true
			}
		}
	}
	columns = slices.DeleteFunc(columns, func(c string) bool { return !used[c] })
	if order := reportColumns[name]; order != nil {
		slices.SortStableFunc(columns, func(a, b string) int { return slices.Index(order, a) - slices.Index(order, b) })
	}

	lines := make([][]string, len(rows)+1)
	widths, right := make([]int, len(columns)), make([]bool, len(columns))
	for c, column := range columns {
		right[c] = true
		lines[0] = append(lines[0], title(column))
		widths[c] = utf8.RuneCountInString(title(column))
		for r, row := range rows {
			o, _ := row.(jsonObject)
			value := o.get(column)
			text := show(column, value)
			lines[r+1] = append(lines[r+1], text)
			widths[c] = max(widths[c], utf8.RuneCountInString(text))
			if _, number := value.(json.Number); !number && value != nil {
				right[c] = false
			}
		}
	}
	for _, cells := range lines {
		var b strings.Builder
		for c, text := range cells {
			if c > 0 {
				b.WriteString("  ")
			}
			b.WriteString(pad(text, widths[c], right[c]))
		}
		p.line(b.String())
	}
}

func pad(s string, width int, right bool) string {
	space := strings.Repeat(" ", max(width-utf8.RuneCountInString(s), 0))
	if right {
		return space + s
	}
	return s + space
}

// title is a column's name for people: durations are shown as hours and minutes.
func title(name string) string {
	return strings.ReplaceAll(strings.TrimSuffix(name, "_seconds"), "_", " ")
}

// show is a value for people.
func show(name string, v any) string {
	switch v := v.(type) {
	case nil:
		return "-"
	case string:
		if t, err := time.Parse(time.RFC3339Nano, v); err == nil {
			return t.Format(time.DateTime)
		}
		return cmp.Or(printable(v), "-")
	case json.Number:
		if strings.HasSuffix(name, "_seconds") {
			return showSeconds(v)
		}
		return v.String()
	case bool:
		if v {
			return "yes"
		}
		return "no"
	case []any:
		parts := make([]string, len(v))
		for i, one := range v {
			parts[i] = show(name, one)
		}
		return strings.Join(parts, ", ")
	case jsonObject:
		return showObject(v)
	}
	return printable(fmt.Sprint(v))
}

// showObject is a small object within a cell: its text, and its count.
func showObject(o jsonObject) string {
	var text, count string
	for _, f := range o {
		switch v := f.value.(type) {
		case string:
			text = show(f.name, v)
		case json.Number:
			count = v.String()
		}
	}
	return text + " (" + count + ")"
}

// showSeconds writes seconds as h:mm:ss, and below a minute as they are.
func showSeconds(n json.Number) string {
	s, err := n.Float64()
	if err != nil {
		return n.String()
	}
	if s < 60 {
		return strconv.FormatFloat(s, 'f', -1, 64) + "s"
	}
	whole := int64(math.Round(s))
	return fmt.Sprintf("%d:%02d:%02d", whole/3600, whole/60%60, whole%60)
}

// printable keeps what clients named things from steering the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}
