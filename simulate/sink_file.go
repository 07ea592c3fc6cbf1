package simulate

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"gatehouse/event"
)

// Writer writes events to files in the order in which they come.
type Writer struct {
	open  func(company string) (io.WriteCloser, error)
	split bool // a file for each company
	csv   bool
	names []string // of the companies, when one file holds several
	files map[uint32]*file
	row   []string
	line  []byte
}

type file struct {
	w   *bufio.Writer
	csv *csv.Writer
	c   io.Closer
}

// companyMark in an output's name stands for the company: a file each.
const companyMark = "{company}"

// NewWriter writes to a path, or to stdout when it is "-". Names that end in
// .csv give CSV, all others NDJSON. With "{company}" in the path each company has a file of
// its own; without it, the lines of several companies carry a member Company.
func NewWriter(path string, stdout io.Writer, companies []Company) *Writer {
	w := &Writer{csv: strings.HasSuffix(strings.ToLower(path), ".csv"), split: strings.Contains(path, companyMark), files: map[uint32]*file{}}
	w.open = func(company string) (io.WriteCloser, error) {
		if path == "-" {
			return nopCloser{stdout}, nil
		}
		name := strings.NewReplacer("/", "_", `\`, "_", ":", "_").Replace(company)
		return os.Create(strings.ReplaceAll(path, companyMark, name))
	}
	if w.split || len(companies) > 1 {
		for _, c := range companies {
			w.names = append(w.names, c.Name)
		}
	}
	return w
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// Write writes one event.
func (w *Writer) Write(e *event.Event) error {
	key, name := uint32(0), ""
	if len(w.names) > 0 {
		name = w.names[e.CompanyID-1]
	}
	if w.split {
		key = e.CompanyID
	}
	f := w.files[key]
	if f == nil {
		out, err := w.open(name)
		if err != nil {
			return fmt.Errorf("simulate: %w", err)
		}
		f = &file{w: bufio.NewWriterSize(out, 1<<20), c: out}
		w.files[key] = f
		if w.csv {
			f.csv = csv.NewWriter(f.w)
			header := CSVHeader
			if name != "" && !w.split {
				header = append([]string{"Company"}, header...)
			}
			if err := f.csv.Write(header); err != nil {
				return fmt.Errorf("simulate: %w", err)
			}
		}
	}
	if err := w.put(f, name, e); err != nil {
		return fmt.Errorf("simulate: %w", err)
	}
	return nil
}

func (w *Writer) put(f *file, name string, e *event.Event) error {
	if f.csv != nil {
		w.row = csvRow(w.row, e)
		if name != "" && !w.split {
			w.row = append([]string{name}, w.row...)
		}
		return f.csv.Write(w.row)
	}
	w.line = AppendJSON(w.line[:0], e)
	if name != "" && !w.split {
		w.line = append(appendMember(w.line[:len(w.line)-1], "Company", name), '}')
	}
	w.line = append(w.line, '\n')
	_, err := f.w.Write(w.line)
	return err
}

// Close writes what is left and closes the files.
func (w *Writer) Close() error {
	var errs []error
	for _, f := range w.files {
		if f.csv != nil {
			f.csv.Flush()
			errs = append(errs, f.csv.Error())
		}
		errs = append(errs, f.w.Flush(), f.c.Close())
	}
	clear(w.files)
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("simulate: %w", err)
	}
	return nil
}
