package spool

import (
	"os"
	"time"
)

// Stats is the state at one moment.
type Stats struct {
	First, Last    Position
	Records        int64     // not trimmed, damaged ones not yet met included
	Bytes          int64     // that these take on disk
	Oldest         time.Time // when the first record not trimmed was appended; zero when there is none
	Segments       int
	DiskBytes      int64 // that count against the bound
	MaxBytes       int64
	Free           int64         // what Append still takes, about: 0 when it says ErrFull, for the bound or the disk
	DamagedParts   int64         // files in damaged/
	DamagedRecords int64         // lost with them, as far as known
	TornTails      int64         // unacknowledged tails cut since Open
	Commits        int64         // groups written since Open
	SyncTime       time.Duration // spent writing and fsyncing them
}

// Age is how long the oldest record has been waiting.
func (t Stats) Age(now time.Time) time.Duration {
	if t.Oldest.IsZero() {
		return 0
	}
	return max(now.Sub(t.Oldest), 0)
}

// located is where a position is within its segment.
type located struct {
	pos    Position
	seg    *segment
	before int64 // records of the segment before pos
	off    int64 // of its block
	nanos  int64 // of its block
}

// Stats may read a little from disk, once after each Trim.
func (s *Spool) Stats() Stats {
	s.mu.Lock()
	st := Stats{
		First: s.trimmed, Last: s.last, Segments: len(s.segments), MaxBytes: s.opts.MaxBytes,
		DiskBytes: s.disk, Commits: s.commits.Load(), SyncTime: time.Duration(s.syncing.Load()),
	}
	var head *segment
	for _, g := range s.segments {
		if g.records == 0 || g.next <= s.trimmed {
			continue
		}
		if head == nil {
			head = g
		}
		st.Records += g.records
		st.Bytes += g.end - fileHeaderSize
	}
	free, disk := s.freeLocked()
	loc := s.oldest
	var from indexEntry
	var end int64
	if head != nil {
		from, end = head.at(s.trimmed), head.end
	}
	s.mu.Unlock()
	if head != nil {
		if loc.seg != head || loc.pos != st.First {
			loc = s.find(head, from, end, st.First)
			s.mu.Lock()
			s.oldest = loc
			s.mu.Unlock()
		}
		st.Records -= loc.before
		st.Bytes -= loc.off - fileHeaderSize
		st.Oldest = time.Unix(0, loc.nanos).UTC()
	}
	s.damage.mu.Lock()
	defer s.damage.mu.Unlock()
	st.DamagedParts, st.DamagedRecords, st.TornTails = int64(len(s.damage.known)), s.damage.records, s.damage.torn
	st.DiskBytes += s.damage.bytes
	if room := s.opts.MaxBytes - disk - s.damage.bytes; room > 0 {
		free += room / s.opts.SegmentSize * (s.opts.SegmentSize - fileHeaderSize)
	}
	st.Free = free
	return st
}

// freeLocked gives the room in the segments that are there, and how much of the bound is taken: new segments are
// made of the rest, whole ones. A full spool is well below its bound, since segments are cut to what they hold.
func (s *Spool) freeLocked() (free, taken int64) {
	taken = s.disk
	if s.prepared != nil {
		free += s.prepared.size - fileHeaderSize
	}
	switch g := s.active; {
	case g == nil:
	case g.records > 0 && g.next <= s.trimmed: // the next one that needs its room gets it
		taken -= g.size
	default:
		free += g.size - g.end
	}
	if !s.noSpace.IsZero() && s.opts.Clock().Sub(s.noSpace).Abs() < retryAfterNoSpace {
		taken = s.opts.MaxBytes
	}
	return free, taken
}

// find walks headers from the indexed block on. Where it cannot, the answer is that block: a little too old.
func (s *Spool) find(g *segment, from indexEntry, end int64, pos Position) located {
	loc := located{pos: pos, seg: g, before: from.before, off: from.off, nanos: from.nanos}
	f, err := os.Open(s.path(g.name))
	if err != nil {
		return loc
	}
	defer f.Close() //nolint:errcheck // read only
	w := window{f: f, size: end}
	before := from.before
	for off := from.off; off+headerSize <= end; {
		b, err := w.at(off, headerSize)
		if err != nil {
			break
		}
		h, ok := getHeader(b, g.mark, off)
		if !ok {
			break
		}
		if h.next() > pos {
			loc.before, loc.off, loc.nanos = before, off, h.nanos
			if pos > h.first {
				loc.before += int64(pos - h.first) //nolint:gosec // compared just before
			}
			break
		}
		before += int64(h.count)
		off += h.size()
	}
	return loc
}
