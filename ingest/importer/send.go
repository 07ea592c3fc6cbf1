package importer

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"

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

// flush sends the batch, one kind of record at a time: the sink counts by
// batch, and the summary by kind.
func (fi *fileImport) flush() error {
	slices.SortStableFunc(fi.batch, func(a, b pending) int { return cmp.Compare(a.kind, b.kind) })
	for start := 0; start < len(fi.batch); {
		end := start + 1
		for end < len(fi.batch) && fi.batch[end].kind == fi.batch[start].kind {
			end++
		}
		if err := fi.send(fi.batch[start:end]); err != nil {
			return &stopError{err}
		}
		start = end
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

func (fi *fileImport) send(batch []pending) error {
	fi.events = fi.events[:0]
	for i := range batch {
		fi.events = append(fi.events, batch[i].ev)
	}
	accepted, duplicate, rejected, err := fi.run.im.Sink.Send(fi.run.ctx, fi.events)
	if err != nil {
		return err
	}
	if accepted+duplicate+len(rejected) != len(batch) {
		return event.Errorf(event.CodeInternal, "the sink answered for %d of %d events", accepted+duplicate+len(rejected), len(batch))
	}
	kind := batch[0].kind
	c := fi.fs.kind(kind)
	c.Accepted += accepted
	c.Duplicate += duplicate
	fi.fs.Accepted += accepted
	fi.fs.Duplicate += duplicate
	for _, rj := range rejected {
		where := ""
		if rj.Index >= 0 && rj.Index < len(batch) {
			where = batch[rj.Index].where
		}
		fi.reject(kind, where, rj.Field, rj.Reason)
	}
	if accepted > 0 || fi.state.Proof == nil {
		fi.prove(batch, rejected)
	}
	return nil
}

// prove keeps the last event of a batch that was not rejected, by which the next import tells whether
// the store still has what came by this file.
func (fi *fileImport) prove(batch []pending, rejected []Rejection) {
	for i := len(batch) - 1; i >= 0; i-- {
		if !slices.ContainsFunc(rejected, func(r Rejection) bool { return r.Index == i }) {
			fi.state.Proof = batch[i].ev.AppendBinary(nil)
			return
		}
	}
}

func (fi *fileImport) reject(kind, where, field, reason string) {
	fi.fs.reject(kind, where, field, reason)
	fi.untimely = fi.untimely || field == event.FieldTimestamp.String()
}
