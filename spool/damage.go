package spool

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// damage keeps account of damaged/. Its files are the account: what they are called says where they
// came from and how many records are lost with them, so that the counts survive a restart and the same damage, met again, counts once.
type damage struct {
	mu      sync.Mutex
	dir     string
	known   map[string]bool
	records int64
	bytes   int64
	torn    int64 // since Open
}

// damagedFileName is SEGMENT@OFFSET+LENGTH.NrecordsLOST, for example ….seg@4096+812.5records.
func damagedFileName(segment string, r region) string {
	return fmt.Sprintf("%s@%d+%d.%drecords", segment, r.off, r.len, r.records)
}

func (d *damage) load(dir string) error {
	d.dir, d.known = dir, map[string]bool{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".tmp") { // a copy that a crash interrupted; its origin is still there
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return fmt.Errorf("spool: %w", err)
			}
			continue
		}
		info, err := e.Info()
		if err != nil {
			return fmt.Errorf("spool: %w", err)
		}
		d.known[e.Name()] = true
		d.bytes += info.Size()
		_, n, _ := strings.Cut(strings.TrimSuffix(e.Name(), "records"), "+")
		if _, n, ok := strings.Cut(n, "."); ok {
			if v, err := strconv.ParseInt(n, 10, 64); err == nil && v > 0 {
				d.records += v
			}
		}
	}
	return nil
}

func (d *damage) size() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.bytes
}

func (d *damage) tornTail() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.torn++
}

// setAside copies a damaged stretch of a segment into damaged/ and counts it. When it cannot be copied (a full disk) the
// segment's whole file goes there once it is consumed.
func (s *Spool) setAside(g *segment, r region) {
	name := damagedFileName(g.name, r)
	d := &s.damage
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.known[name] {
		return
	}
	d.known[name] = true
	d.records += r.records
	attrs := []any{
		slog.String("segment", g.name), slog.Int64("offset", r.off), slog.Int64("bytes", r.len),
		slog.Int64("records", r.records), slog.String("in", r.why),
	}
	n, err := s.copyAside(g.name, r, filepath.Join(d.dir, name))
	if err != nil {
		g.keepFile.Store(true)
		s.log.Error("damaged data could not be copied aside; the segment's file will be kept instead", append(attrs, slog.Any("error", err))...)
		return
	}
	d.bytes += n
	s.log.Error("damaged data set aside", append(attrs, slog.String("to", filepath.Join(d.dir, name)))...)
}

func (s *Spool) copyAside(segment string, r region, to string) (n int64, err error) {
	from, err := os.Open(s.path(segment))
	if err != nil {
		return 0, err
	}
	defer from.Close() //nolint:errcheck // read only
	f, err := os.OpenFile(to+".tmp", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	n, err = io.Copy(f, io.NewSectionReader(tolerantReader{from}, r.off, r.len))
	err = errors.Join(err, s.io.sync(f), f.Close())
	if err == nil {
		err = os.Rename(to+".tmp", to)
	}
	if err != nil {
		_ = os.Remove(to + ".tmp")
		return 0, err
	}
	return n, s.io.syncDir(filepath.Dir(to))
}

// moveAside puts a segment's file, as it is, into damaged/.
func (s *Spool) moveAside(g *segment) {
	to := filepath.Join(s.damage.dir, g.name)
	if err := os.Rename(s.path(g.name), to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.log.Error("a damaged segment could not be moved aside; it stays where it is", slog.String("segment", g.name), slog.Any("error", err))
		return
	}
	s.damage.mu.Lock()
	defer s.damage.mu.Unlock()
	s.damage.known[g.name] = true
	s.damage.bytes += g.size
}

// tolerantReader is readTolerant as an io.ReaderAt.
type tolerantReader struct{ f io.ReaderAt }

func (t tolerantReader) ReadAt(b []byte, off int64) (int, error) {
	n, err := readTolerant(t.f, b, off)
	if err == nil && n < len(b) {
		err = io.EOF
	}
	return n, err
}
