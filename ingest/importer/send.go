package importer

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"gatehouse/event"
)

// record is one record of a file, read.
type record struct {
	where string
	kind  string // as the summary names it
	ev    event.Event
	keep  bool // ev is an event to send; else, without refused, the record is of another kind
	// refused says why the record, whole as it is, is no valid event.
	refused *event.Error
}

// source gives the records of one stream.
type source interface {
	// next gives the next record, a *damage for something unreadable (the caller
	// goes on), io.EOF at the end, or another error, which is final.
	next() (record, error)
}

// damage is something in a file that could not be read.
type damage struct{ where, reason string }

func (d *damage) Error() string { return d.where + ": " + d.reason }

// fileImport sends the records of one file.
type fileImport struct {
	run   *run
	fs    *FileSummary
	state *state

	position int // records read
	// untimely: an event was rejected for its time. A longer retention or a later clock may
	// let it pass, so the file is not done, and the state stays before it.
	untimely bool
	batch    []pending
	events   []event.Event
}

type pending struct {
	ev    event.Event
	kind  string
	where string
}

func timeOf(e *event.Event) time.Time { return time.UnixMilli(e.Time).UTC() }

// checkEvery is after how many records progress is told and the context asked.
const checkEvery = 512

// source reads src to its end. prefix tells its name inside an archive.
func (fi *fileImport) source(prefix, format string, src source) error {
	if fi.fs.Format == "" {
		fi.fs.Format = format
	}
	for n := 0; ; n++ {
		if n%checkEvery == 0 {
			if err := fi.run.ctx.Err(); err != nil {
				return err
			}
			fi.run.tell(fi.fs.File, fi.fs.Read)
		}
		rec, err := src.next()
		var d *damage
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.As(err, &d):
			fi.fs.damage(prefix+d.where, d.reason)
			if fi.fs.DamageCount >= maxDamagedRecords {
				return fmt.Errorf("more than %d damaged records; the rest was not read", maxDamagedRecords)
			}
			continue
		case err != nil:
			return err
		}
		rec.where = prefix + rec.where
		if err := fi.take(rec); err != nil {
			return err
		}
	}
}

// take counts a record and puts its event into the batch.
func (fi *fileImport) take(rec record) error {
	fi.position++
	c := fi.fs.kind(rec.kind)
	c.Read++
	fi.fs.Read++
	fi.fs.Records++
	switch {
	case rec.refused != nil:
		fi.reject(rec.kind, rec.where, rec.refused.Field, rec.refused.Message)
		return nil
	case !rec.keep:
		c.Other++
		fi.fs.Other++
		return nil
	case fi.position <= fi.state.Position:
		// An interrupted import had this one taken.
		c.Duplicate++
		fi.fs.Duplicate++
		fi.fs.cover(timeOf(&rec.ev))
		return nil
	}
	fi.batch = append(fi.batch, pending{rec.ev, rec.kind, rec.where})
	limit := fi.run.im.Batch
	if limit <= 0 {
		limit = DefaultBatch
	}
	if len(fi.batch) >= limit {
		return fi.flush()
	}
	return nil
}

// flush sends the batch.
func (fi *fileImport) flush() error {
	if err := fi.send(); err != nil {
		return &stopError{err}
	}
	fi.batch = fi.batch[:0]
	if fi.position > fi.state.Position && !fi.untimely {
		fi.state.Position = fi.position
		if fi.fs.Read > 0 {
			fi.state.save()
		}
	}
	return nil
}

func (fi *fileImport) send() error {
	if len(fi.batch) == 0 {
		return nil
	}
	fi.events = fi.events[:0]
	for i := range fi.batch {
		fi.events = append(fi.events, fi.batch[i].ev)
	}
	duplicates, rejected, err := fi.run.im.Sink.Send(fi.run.ctx, fi.events)
	if err != nil {
		return err
	}
	isNew := slices.Repeat([]bool{true}, len(fi.batch))
	for _, i := range duplicates {
		if i < 0 || i >= len(isNew) || !isNew[i] {
			return event.Errorf(event.CodeInternal, "the sink tells of a duplicate %d, of %d events", i, len(isNew))
		}
		isNew[i] = false
		fi.fs.cover(timeOf(&fi.batch[i].ev))
		fi.fs.Duplicate++
		fi.fs.kind(fi.batch[i].kind).Duplicate++
	}
	for _, r := range rejected {
		if r.Index < 0 || r.Index >= len(isNew) || !isNew[r.Index] {
			return event.Errorf(event.CodeInternal, "the sink rejects event %d, of %d", r.Index, len(isNew))
		}
		isNew[r.Index] = false
		fi.reject(fi.batch[r.Index].kind, fi.batch[r.Index].where, r.Field, r.Reason)
	}
	proof := -1 // the last that is new; else, at first, the last that is known
	for i, is := range isNew {
		if is {
			proof = i
			fi.fs.cover(timeOf(&fi.batch[i].ev))
			fi.fs.Accepted++
			fi.fs.kind(fi.batch[i].kind).Accepted++
		}
	}
	if proof < 0 && fi.state.Proof == nil && len(duplicates) > 0 {
		proof = duplicates[len(duplicates)-1]
	}
	if proof >= 0 {
		fi.state.Proof = fi.batch[proof].ev.AppendBinary(nil)
	}
	return nil
}

func (fi *fileImport) reject(kind, where, field, reason string) {
	fi.fs.reject(kind, where, field, reason)
	fi.untimely = fi.untimely || field == event.FieldTimestamp.String()
}
