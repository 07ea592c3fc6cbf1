package importer

import (
	"archive/zip"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"
	"unicode"

	bom "golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"

	"gatehouse/event"
	"gatehouse/ingest/importer/evtx"
)

// input is one file on disk and the limits on what may come out of it.
type input struct {
	im     *Importer
	now    time.Time
	file   *os.File
	size   int64
	left   int64 // bytes that may still be unpacked
	onRead func(n int)
}

// peekSize is how much of a stream is looked at to tell its format.
const peekSize = 4096

// maxWrapping is how many compressions may stand in one another.
const maxWrapping = 3

// each finds the streams of records in the file and hands each to fn.
func (in *input) each(ctx context.Context, name string, fn func(prefix, format string, src source) error) error {
	magic := make([]byte, 4)
	n, err := in.file.ReadAt(magic, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read: %w", err)
	}
	if n == 0 {
		return errors.New("is empty")
	}
	if string(magic[:n]) == "PK\x03\x04" || string(magic[:n]) == "PK\x05\x06" {
		return in.zip(ctx, fn)
	}
	return in.stream(&countingReader{in.file, in.onRead}, name, "", "", 0, fn)
}

// zip goes through the members of an archive in their order.
func (in *input) zip(ctx context.Context, fn func(prefix, format string, src source) error) error {
	z, err := zip.NewReader(&countingReaderAt{in.file, in.onRead}, in.size)
	if err != nil {
		return fmt.Errorf("the zip archive cannot be read: %w", err)
	}
	var members []*zip.File
	for _, m := range z.File {
		// __MACOSX holds what the Mac's finder adds of its own.
		if m.FileInfo().IsDir() || strings.HasPrefix(m.Name, "__MACOSX/") || strings.HasPrefix(path.Base(m.Name), ".") {
			continue
		}
		members = append(members, m)
	}
	if len(members) == 0 {
		return errors.New("the zip archive holds no files")
	}
	if len(members) > maxMembers {
		return fmt.Errorf("the zip archive holds %d files, more than the %d that are taken", len(members), maxMembers)
	}
	var failed error
	for _, m := range members {
		if err := ctx.Err(); err != nil {
			return err
		}
		prefix := ""
		if len(members) > 1 {
			prefix = printable(m.Name) + ", "
		}
		if err := in.member(m, prefix, fn); err != nil {
			var stop *stopError
			if errors.As(err, &stop) || ctx.Err() != nil {
				return err
			}
			// A bad member does not take the others with it.
			failed = errors.Join(failed, fmt.Errorf("%s: %w", printable(m.Name), err))
		}
	}
	return failed
}

func (in *input) member(m *zip.File, prefix string, fn func(prefix, format string, src source) error) error {
	r, err := m.Open()
	if err != nil {
		return fmt.Errorf("cannot be unpacked: %w", err)
	}
	defer func() { _ = r.Close() }() // its checksum was compared at the end of reading
	return in.stream(in.limit(r), m.Name, prefix, "zip+", 1, fn)
}

// stream tells the format by how the content begins, by the name only where
// that says nothing.
func (in *input) stream(r io.Reader, name, prefix, wrapped string, depth int, fn func(prefix, format string, src source) error) error {
	br := bufio.NewReaderSize(r, 64<<10)
	head, err := br.Peek(peekSize)
	if len(head) == 0 {
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		return errors.New("is empty")
	}
	lower := strings.ToLower(name)
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		if depth >= maxWrapping {
			return errors.New("compressed too many times over")
		}
		gz, err := gzip.NewReader(br)
		if err != nil {
			return fmt.Errorf("the gzip header is damaged: %w", err)
		}
		defer func() { _ = gz.Close() }() // closes nothing below it
		return in.stream(in.limit(gz), strings.TrimSuffix(lower, ".gz"), prefix, wrapped+"gzip+", depth+1, fn)
	case bytes.HasPrefix(head, []byte("PK\x03\x04")):
		return errors.New("is a zip archive in a compressed file; unpack it first")
	case bytes.HasPrefix(head, []byte(evtx.FileMagic)) || strings.HasSuffix(lower, ".evtx"):
		src, err := newEVTXSource(br, in)
		if err != nil {
			return err
		}
		return fn(prefix, wrapped+"evtx", src)
	}
	// Text. Windows tools write UTF-16 as readily as UTF-8; the mark tells.
	text := bufio.NewReaderSize(transform.NewReader(br, bom.BOMOverride(transform.Nop)), 64<<10)
	head, err = text.Peek(peekSize)
	if err != nil && !errors.Is(err, io.EOF) && len(head) == 0 {
		return err
	}
	first := bytes.TrimLeft(head, " \t\r\n")
	switch {
	case len(first) == 0:
		return errors.New("holds nothing but white space")
	case first[0] == '<':
		return fn(prefix, wrapped+"xml", newXMLSource(text, in))
	case first[0] == '{' || first[0] == '[':
		return fn(prefix, wrapped+"json", newJSONSource(text, in))
	case bytes.IndexByte(first, 0) >= 0:
		return errors.New("is no format that can be imported: not .evtx, JSON, XML or CSV")
	}
	src, err := newCSVSource(text, in)
	if err != nil {
		return err
	}
	return fn(prefix, wrapped+"csv", src)
}

// limit bounds what is unpacked, all streams of the file together, so that a
// small file cannot keep the importer busy for days.
func (in *input) limit(r io.Reader) io.Reader { return &limitedReader{r, &in.left} }

type limitedReader struct {
	r    io.Reader
	left *int64
}

func (l *limitedReader) Read(p []byte) (int, error) {
	if *l.left <= 0 {
		return 0, errTooLarge
	}
	if int64(len(p)) > *l.left {
		p = p[:*l.left]
	}
	n, err := l.r.Read(p)
	*l.left -= int64(n)
	return n, err
}

var errTooLarge = errors.New("unpacks to more than the limit; the rest was not read")

type countingReader struct {
	r  io.Reader
	on func(int)
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.on(n)
	return n, err
}

type countingReaderAt struct {
	r  io.ReaderAt
	on func(int)
}

func (c *countingReaderAt) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.r.ReadAt(p, off)
	c.on(n)
	return n, err
}

// windows makes the record of a Windows record.
func (in *input) windows(where string, wr *event.WindowsRecord) record {
	rec := record{where: where, kind: printable(wr.Key())}
	ev, ok := wr.Event()
	if !ok {
		return rec
	}
	rec.ev, rec.keep = ev, true
	rec.ev.CompanyID, rec.ev.SiteID, rec.ev.Received = in.im.CompanyID, in.im.SiteID, in.now.UnixMilli()
	rec.check(rec.ev.Normalize(in.now))
	return rec
}

// own makes the record of one in Gatehouse's own fields.
func (in *input) own(where string, f *event.Fields) record {
	rec := record{where: where, kind: "unknown type"}
	ev, err := f.Parse(&event.ParseOptions{Now: in.now, Location: in.im.Location, CompanyID: in.im.CompanyID, SiteID: in.im.SiteID})
	if ev.Type.Valid() {
		rec.kind = ev.Type.String()
	}
	rec.ev, rec.keep = ev, true
	rec.check(err)
	return rec
}

func (rec *record) check(err error) {
	if err == nil {
		return
	}
	var e *event.Error
	if !errors.As(err, &e) {
		e = event.Wrap(event.CodeInvalid, err, "is not valid")
	}
	rec.keep, rec.refused = false, e
}

// printable makes a name out of a file fit for a summary on a terminal: short,
// and without characters that steer one.
func printable(s string) string {
	const most = 200
	if len(s) > most {
		s = s[:most]
	}
	return strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) {
			return c
		}
		return '?'
	}, strings.ToValidUTF8(s, "?"))
}
