// Package spool is a durable queue of byte records on disk: what Append has accepted is fsynced and
// comes out of a Reader, in order, after any crash. The server puts events into it before it answers
// 2xx, the agent before it forgets them.
//
// It promises: no acknowledged record is lost by killing the process at any moment; a record
// that comes out is byte for byte one that went in; damage on disk costs the damaged records only, which are
// set aside and counted, never wiped; and disk use stays within a bound beyond which Append
// refuses (ErrFull) instead of dropping anything.
//
// It leaves to others: what the records mean, and remembering how far they are consumed beyond
// the coarse mark of Trim. A record whose Append did not return nil may or may not be there.
package spool

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

var (
	// ErrFull means that the bound, or the disk, is reached: nothing was taken, try again later.
	ErrFull = errors.New("spool: full")
	// ErrClosed is what every call returns after Close.
	ErrClosed = errors.New("spool: closed")
	// ErrTooLarge means that one call brings more than the spool takes in one call, ever.
	ErrTooLarge = errors.New("spool: too large")
	// ErrLocked means that another process, or another Open, has the directory.
	ErrLocked = errors.New("spool: directory is in use")
)

const (
	defaultMaxBytes = 8 << 30
	// maxSegmentSize keeps the unit of deletion, and of scanning at start, small.
	maxSegmentSize = 64 << 20
	// minSegmentSize is below what any use needs; smaller, file headers would be the content.
	minSegmentSize = 4 << 10
	// segmentsPerSpool is the least number of segments within the bound: space comes back a segment at a time.
	segmentsPerSpool = 4
	// retryAfterNoSpace spaces the attempts to allocate on a full disk, which can be slow to say no.
	retryAfterNoSpace = 250 * time.Millisecond
)

// Position is the number of a record: the first is 1, later records have higher numbers, and a
// record keeps its number for good. Numbers may be left out after a crash, an error or damage.
type Position uint64

// Options of Open; the zero value is usable.
type Options struct {
	// MaxBytes bounds the disk use of the directory, allocated segments and damaged/ included
	// (default 8 GiB). Beyond it Append returns ErrFull until Trim has made room.
	MaxBytes int64
	// SegmentSize is the size of one file (default MaxBytes/8, at most 64 MiB; never more than MaxBytes/4).
	SegmentSize int64
	// CommitDelay is the least time between two fsyncs. Zero (default) is the lowest latency; a
	// millisecond or two make larger groups and save CPU and disk work under many callers.
	CommitDelay time.Duration
	Logger      *slog.Logger
	Clock       func() time.Time // called from several goroutines
}

// Spool is an open directory; its methods may be called concurrently.
type Spool struct {
	dir  string
	opts Options
	log  *slog.Logger
	lock *os.File
	io   fileIO

	gmu     sync.Mutex // guards the gathering group
	group   *group
	gclosed bool
	wake    chan struct{} // to the committer, 1-buffered
	idle    chan struct{} // closed when the committer has ended

	mu        sync.Mutex // guards what follows; never held over file system calls
	segments  []*segment // in order; the last may be the active one
	active    *segment   // being appended to, nil until the first append
	prepared  *segment   // allocated ahead by the preparer
	preparing bool
	lastOrd   uint64
	next      Position // of the next record
	last      Position // of the last durable record, 0 when there never was one
	trimmed   Position // everything before is consumed
	disk      int64    // bytes of all segment files, prepared ones and those that could not be deleted included
	zombies   []*segment
	waiters   chan struct{} // closed when there is something new to read
	closed    bool
	noSpace   time.Time // when allocation last failed
	oldest    located   // cache of Stats

	trim    *trimFile
	trimMu  sync.Mutex // one Trim at a time
	damage  damage
	prep    sync.WaitGroup
	commits atomic.Int64
	syncing atomic.Int64 // nanoseconds spent in fsync
}

// Open opens the spool in dir, making it when there is none. It cuts a tail torn by a crash and reports
// damage found on the way; records already damaged in their bytes are found when they are read.
func Open(dir string, opts Options) (*Spool, error) {
	return open(dir, opts, osFiles)
}

func open(dir string, opts Options, files fileIO) (_ *Spool, err error) {
	if opts, err = opts.withDefaults(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(dir, damagedName), 0o700); err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	s := &Spool{
		dir: dir, opts: opts, log: opts.Logger.With(slog.String("spool", dir)), io: files,
		wake: make(chan struct{}, 1), idle: make(chan struct{}), next: 1, trimmed: 1,
	}
	s.group = newGroup(nil, nil)
	// The names of the directory and what is in it must last before a record in it is acknowledged.
	if err := errors.Join(files.syncDir(filepath.Dir(dir)), files.syncDir(dir)); err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	if s.lock, err = takeLock(dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = s.trim.close() // the error to tell is the one at hand
			_ = s.lock.Close()
		}
	}()
	if err := s.damage.load(filepath.Join(dir, damagedName)); err != nil {
		return nil, err
	}
	if s.trim, err = openTrim(filepath.Join(dir, trimName)); err != nil {
		return nil, err
	}
	s.trimmed = max(s.trimmed, s.trim.pos)
	if err := s.loadSegments(); err != nil {
		return nil, err
	}
	s.next = max(s.next, s.trimmed, s.trim.floor)
	// The last record that there is: behind a torn tail numbering goes on further up, and
	// whoever waits for Last to be read would wait for numbers that nothing bears.
	s.last = s.trimmed - 1
	for _, g := range s.segments {
		s.last = max(s.last, g.next-1)
	}
	if err := s.deleteTrimmed(); err != nil {
		return nil, err
	}
	go s.commitLoop()
	return s, nil
}

func (o Options) withDefaults() (Options, error) {
	if o.MaxBytes == 0 {
		o.MaxBytes = defaultMaxBytes
	}
	if o.SegmentSize == 0 {
		o.SegmentSize = min(maxSegmentSize, o.MaxBytes/(2*segmentsPerSpool))
	}
	o.SegmentSize = min(o.SegmentSize, o.MaxBytes/segmentsPerSpool)
	if o.SegmentSize < minSegmentSize {
		return o, fmt.Errorf("spool: the bound of %d bytes is too small: at least %d", o.MaxBytes, segmentsPerSpool*minSegmentSize)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	return o, nil
}

// takeLock holds the lock file, in which the holder writes its process id for the next one's error.
func takeLock(dir string) (*os.File, error) {
	path := filepath.Join(dir, lockName)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	if err := lockFile(f); err != nil {
		_ = f.Close()
		if errors.Is(err, ErrLocked) {
			return nil, fmt.Errorf("%w: %s is held by process %s", ErrLocked, path, Holder(dir))
		}
		return nil, fmt.Errorf("spool: lock %s: %w", path, err)
	}
	err = errors.Join(f.Truncate(0), writeAll(f, []byte(fmt.Sprint(os.Getpid())), 0))
	if err != nil && !isNoSpace(err) {
		_ = f.Close()
		return nil, fmt.Errorf("spool: lock file %s: %w", path, err)
	}
	return f, nil
}

// Holder is the id of the process that has the spool in dir open, or had it last; "" when
// nothing tells.
func Holder(dir string) string {
	f, err := os.Open(filepath.Join(dir, lockName))
	if err != nil {
		return ""
	}
	who, _ := io.ReadAll(io.LimitReader(f, 20)) // what cannot be read is not known
	_ = f.Close()
	return string(who)
}

func writeAll(f *os.File, b []byte, off int64) error {
	_, err := f.WriteAt(b, off)
	return err
}

// Close commits what has been gathered, ends waiting readers, and gives the directory free.
func (s *Spool) Close() error {
	s.gmu.Lock()
	if s.gclosed {
		s.gmu.Unlock()
		return ErrClosed
	}
	s.gclosed = true
	s.gmu.Unlock()
	s.wakeCommitter()
	<-s.idle
	s.trimMu.Lock()
	defer s.trimMu.Unlock()
	s.mu.Lock()
	s.closed = true
	s.notifyLocked()
	active := s.active
	s.active = nil
	s.mu.Unlock()
	s.prep.Wait()
	if p := s.takePrepared(); p != nil {
		s.discard(p)
	}
	var errs []error
	if active != nil {
		if active.records == 0 {
			s.mu.Lock()
			s.segments = slices.DeleteFunc(s.segments, func(x *segment) bool { return x == active })
			s.mu.Unlock()
			s.discard(active)
		} else {
			errs = append(errs, s.seal(active))
		}
	}
	errs = append(errs, s.io.sync(s.trim.f), s.trim.close(), s.io.syncDir(s.dir), s.lock.Close())
	return errors.Join(errs...)
}

// First is where reading begins: at or before the first record that is not trimmed.
func (s *Spool) First() Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.trimmed
}

// Last is the last durable record's position; 0 when there never was one.
func (s *Spool) Last() Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

func (s *Spool) notifyLocked() {
	if s.waiters != nil {
		close(s.waiters)
		s.waiters = nil
	}
}
