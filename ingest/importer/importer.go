// Package importer turns files of logon events into events and sends them to
// a [Sink]: Windows event logs (.evtx), Windows events as JSON or NDJSON in the
// shapes that collectors write, single events as XML, and Gatehouse's own
// fields as JSON or CSV; each also inside gzip, and all inside zip.
//
// It reads files of any size in bounded memory, tells what it could not read,
// and can be interrupted and repeated: an event's identity keeps it from
// counting twice, and the state in StateDir keeps work from being done twice.
// It leaves to others where the events go.
package importer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"gatehouse/event"
)

// Sink takes events that are normalized and carry their company and site. When
// it returns without error, each of them is durable or rejected; duplicates are the
// indexes of those that were known before. It must not keep the slice. An error means that none of them may be taken as stored; the
// same events will come again.
type Sink interface {
	Send(ctx context.Context, events []event.Event) (duplicates []int, rejected []Rejection, err error)
}

// Rejection says why one event of a batch was refused.
type Rejection struct {
	Index  int // in the batch
	Field  string
	Reason string
}

// Limits. What lies beyond is told as damage, and reading goes on behind it.
const (
	DefaultBatch       = 5_000
	DefaultMaxUnpacked = 16 << 30 // bytes out of one compressed file; the rest of it is not read
	maxRecord          = 1 << 20  // bytes of one JSON, CSV or XML record; Windows writes at most 64 KiB
	maxDamageListed    = 100      // of one file; more are counted
	maxReasonsListed   = 50       // kinds of rejection of one file; more are counted as "other reasons"
	maxKindsListed     = 5_000    // kinds of record of one file; more are counted as "other kinds"
	maxDamagedRecords  = 100_000  // of one file: it is not what it seems, and is given up
	maxMembers         = 10_000   // files in one zip
)

// Importer imports files for one company. The fields are read-only while it runs.
type Importer struct {
	Sink      Sink
	CompanyID uint32
	SiteID    uint32
	Location  *time.Location   // of times without a zone; nil is UTC
	Now       func() time.Time // nil is time.Now
	Batch     int              // events sent at once, 0: DefaultBatch

	// StateDir keeps what was done, so that a file that was imported whole is
	// passed over and one that was interrupted goes on where it stood. "" keeps
	// nothing: then everything is sent again, and the sink tells the duplicates.
	StateDir string
	// Store names where events go and for how long they stay there: what was done under
	// another name is done again.
	Store string
	// Stored tells how many of some events are where they go; nil is not asked. A state whose
	// last event is not there any more counts as none.
	Stored func(ctx context.Context, events []event.Event) (int, error)
	// Again sends files that StateDir says are done.
	Again bool
	// Salvage reads records behind damage in .evtx files that other readers give up.
	Salvage bool
	// MaxUnpacked bounds what comes out of one compressed file, 0: DefaultMaxUnpacked.
	MaxUnpacked int64
	// Progress hears, often, how far a file is; nil is silent.
	Progress func(p Progress)
}

// Progress is how far the import is, in bytes of the files as they lie on disk.
type Progress struct {
	File        string
	Done, Total int64 // over all files
	Records     int
}

func (im *Importer) now() time.Time {
	if im.Now != nil {
		return im.Now()
	}
	return time.Now()
}

// Import imports files; a directory stands for the files in it that look like
// event files. The summary is whole for what was done, also beside an error. A
// file that cannot be opened is told in its summary and does not stop the
// others; an error of the sink or of ctx stops the import.
func (im *Importer) Import(ctx context.Context, files []string) (Summary, error) {
	sum := Summary{Files: []FileSummary{}, Events: map[string]*Counts{}}
	names, err := expand(files)
	if err != nil {
		return sum, err
	}
	run := &run{im: im, ctx: ctx}
	for _, name := range names {
		if info, err := os.Stat(name); err == nil {
			run.progress.Total += info.Size()
		}
	}
	for _, name := range names {
		if err = ctx.Err(); err != nil {
			break
		}
		var done FileSummary
		done, err = run.file(name)
		sum.add(done)
		if err != nil {
			break
		}
	}
	return sum, err
}

// expand lists the files to import, each once, directories in the order of their names.
func expand(files []string) ([]string, error) {
	var out []string
	seen := map[string]bool{}
	add := func(name string) {
		if clean := filepath.Clean(name); !seen[clean] {
			seen[clean] = true
			out = append(out, name)
		}
	}
	for _, name := range files {
		info, err := os.Stat(name)
		if err != nil || !info.IsDir() {
			add(name) // what is missing is told in its file's summary
			continue
		}
		var found []string
		err = filepath.WalkDir(name, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.Type().IsRegular() && looksImportable(path) {
				found = append(found, path)
			}
			return nil
		})
		if err != nil {
			return nil, event.Wrap(event.CodeInvalid, err, "cannot list the directory "+name)
		}
		sort.Strings(found)
		for _, f := range found {
			add(f)
		}
	}
	return out, nil
}

// looksImportable tells by a name whether a file in a directory is meant.
func looksImportable(path string) bool {
	name := strings.ToLower(filepath.Base(path))
	name = strings.TrimSuffix(name, ".gz")
	switch filepath.Ext(name) {
	case ".evtx", ".json", ".ndjson", ".jsonl", ".csv", ".xml", ".zip":
		return !strings.HasPrefix(name, ".")
	}
	return false
}

// run is one import under way.
type run struct {
	im       *Importer
	ctx      context.Context //nolint:containedctx // lives for one call of Import
	progress Progress
}

func (r *run) tell(file string, records int) {
	if r.im.Progress != nil {
		r.progress.File, r.progress.Records = file, records
		r.im.Progress(r.progress)
	}
}

// file imports one file. The error is one that stops the import.
func (r *run) file(name string) (FileSummary, error) {
	fs := newFileSummary(name)
	info, err := os.Stat(name) // first: opening a pipe waits for whoever writes to it
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("is not a regular file")
	}
	var f *os.File
	if err == nil {
		f, err = os.Open(name)
	}
	if err != nil {
		fs.Unread = reasonOf(err)
		return fs, nil
	}
	defer func() { _ = f.Close() }() // only read from
	fs.Size = info.Size()
	before := r.progress.Done
	defer func() { r.progress.Done = before + fs.Size; r.tell(name, fs.Read) }()

	if fs.SHA256, err = hashFile(r.ctx, f); err != nil {
		if r.ctx.Err() != nil {
			return fs, r.ctx.Err()
		}
		fs.Unread = reasonOf(err)
		return fs, nil
	}
	st := openState(r.ctx, r.im, fs.SHA256)
	if st.Done && !r.im.Again {
		fs.recall(&st)
		return fs, nil
	}
	if r.im.Again {
		st.Position, st.Done, st.Proof = 0, false, nil
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		fs.Unread = reasonOf(err)
		return fs, nil
	}
	fs.ResumedAt = st.Position
	in := &input{
		im: r.im, now: r.im.now(), file: f, size: info.Size(),
		left: r.im.MaxUnpacked,
		onRead: func(n int) {
			r.progress.Done = min(r.progress.Done+int64(n), before+fs.Size)
		},
	}
	if in.left <= 0 {
		in.left = DefaultMaxUnpacked
	}
	imp := &fileImport{run: r, fs: &fs, state: &st}
	err = in.each(r.ctx, name, imp.source)
	if err == nil {
		err = imp.flush()
	}
	if err == nil {
		err = r.ctx.Err()
	}
	var stop *stopError
	switch {
	case err == nil && fs.Read == 0 && fs.DamageCount > 0:
		fs.Unread = "nothing in it could be read: " + fs.Damaged[0].Reason
		return fs, nil
	case err == nil:
		if !imp.untimely {
			st.Done, st.Summary = true, fs.remember()
		}
		st.save()
		fs.StateError = st.problem
		if fs.StateError == "" && imp.untimely {
			fs.StateError = "events were rejected for their time, and may be taken another day"
		}
		return fs, nil
	case errors.As(err, &stop):
		return fs, stop.cause
	case r.ctx.Err() != nil:
		return fs, r.ctx.Err()
	case fs.Format == "":
		fs.Unread = reasonOf(err)
		return fs, nil
	default:
		// The file failed, not the import: what was read before still counts.
		fs.Error = reasonOf(err)
		if err := imp.flush(); err != nil {
			if errors.As(err, &stop) {
				return fs, stop.cause
			}
			return fs, err
		}
		return fs, nil
	}
}

// reasonOf is an error without the path that the summary gives beside it.
func reasonOf(err error) string {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err.Error()
	}
	return err.Error()
}

func hashFile(ctx context.Context, f io.Reader) (string, error) {
	h := sha256.New()
	buf := make([]byte, 1<<20)
	for {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		n, err := f.Read(buf)
		_, _ = h.Write(buf[:n]) // never fails
		if errors.Is(err, io.EOF) {
			return hex.EncodeToString(h.Sum(nil)), nil
		}
		if err != nil {
			return "", fmt.Errorf("read: %w", err)
		}
	}
}

// stopError carries an error that stops the whole import out of a file's.
type stopError struct{ cause error }

func (e *stopError) Error() string { return e.cause.Error() }
func (e *stopError) Unwrap() error { return e.cause }
