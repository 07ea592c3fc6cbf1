package importer

import "time"

// Counts are of records. Read = Accepted + Duplicate + Rejected + Other, once
// a file is done.
type Counts struct {
	Read      int `json:"read"`
	Accepted  int `json:"accepted"`
	Duplicate int `json:"duplicate"`
	Rejected  int `json:"rejected"`
	Other     int `json:"other"` // of a kind that Gatehouse does not keep
}

func (c *Counts) add(o Counts) {
	c.Read += o.Read
	c.Accepted += o.Accepted
	c.Duplicate += o.Duplicate
	c.Rejected += o.Rejected
	c.Other += o.Other
}

// Summary is what an import did.
type Summary struct {
	Files  []FileSummary `json:"files"`
	Totals Counts        `json:"totals"`
	Span
	Events map[string]*Counts `json:"events"` // by kind over all files, see FileSummary
	Failed int                `json:"failed"` // files that were not read to their end
	Unread int                `json:"unread"` // files of which nothing was read
	Damage int                `json:"damage"` // things that could not be read, over all files
	// Inexact says why Accepted counts events too that the store may have had already.
	Inexact string `json:"inexact,omitempty"`
}

func (s *Summary) add(fs FileSummary) {
	s.Files = append(s.Files, fs)
	s.Totals.add(fs.Counts)
	if fs.First != nil {
		s.cover(*fs.First)
		s.cover(*fs.Last)
	}
	for kind, c := range fs.Events {
		t := s.Events[kind]
		if t == nil {
			t = &Counts{}
			s.Events[kind] = t
		}
		t.add(*c)
	}
	if fs.Error != "" {
		s.Failed++
	}
	if fs.Unread != "" {
		s.Unread++
	}
	s.Damage += fs.DamageCount
}

// Span is from when to when events are, in UTC. Without events it is empty.
type Span struct {
	First *time.Time `json:"first_event,omitempty"`
	Last  *time.Time `json:"last_event,omitempty"`
}

// cover widens the span to an event's time.
func (s *Span) cover(t time.Time) {
	if s.First == nil || t.Before(*s.First) {
		s.First = &t
	}
	if s.Last == nil || t.After(*s.Last) {
		s.Last = &t
	}
}

// FileSummary is what became of one file.
type FileSummary struct {
	File    string `json:"file"`
	Format  string `json:"format"` // evtx, json, xml, csv; gzip and zip stand before with a "+"
	Size    int64  `json:"size"`
	SHA256  string `json:"sha256,omitempty"`
	Records int    `json:"records"` // as Counts.Read
	Counts
	Span // of the events that the store has now
	// Events counts by kind: "Security/4624" for the provider
	// Microsoft-Windows-Security-Auditing, "Channel/ID/Provider" for others, the
	// type's name for records in Gatehouse's own fields.
	Events map[string]*Counts `json:"events"`

	Damaged     []Damaged      `json:"damaged"` // what could not be read, the first hundred
	DamageCount int            `json:"damage_count"`
	Rejections  []RejectReason `json:"rejections"`

	AlreadyImported bool   `json:"already_imported,omitempty"` // passed over: an earlier import did all of it
	ResumedAt       int    `json:"resumed_at,omitempty"`       // records that an interrupted import had sent already
	Unread          string `json:"unread,omitempty"`           // why nothing of it was read
	Error           string `json:"error,omitempty"`            // why not all of it was read
	StateError      string `json:"state_error,omitempty"`      // why the next import will have to read it again
}

// Damaged is one thing that could not be read.
type Damaged struct {
	Where  string `json:"where"`
	Reason string `json:"reason"`
}

// RejectReason counts the records that were refused for one reason.
type RejectReason struct {
	Field  string `json:"field,omitempty"`
	Reason string `json:"reason"`
	Count  int    `json:"count"`
	First  string `json:"first"` // where the first of them stands
}

func newFileSummary(name string) FileSummary {
	return FileSummary{File: name, Events: map[string]*Counts{}, Damaged: []Damaged{}, Rejections: []RejectReason{}}
}

func (fs *FileSummary) kind(name string) *Counts {
	c := fs.Events[name]
	if c == nil {
		if len(fs.Events) >= maxKindsListed {
			name = "other kinds"
			if c = fs.Events[name]; c != nil {
				return c
			}
		}
		c = &Counts{}
		fs.Events[name] = c
	}
	return c
}

func (fs *FileSummary) damage(where, reason string) {
	fs.DamageCount++
	if len(fs.Damaged) < maxDamageListed {
		fs.Damaged = append(fs.Damaged, Damaged{where, reason})
	}
}

func (fs *FileSummary) reject(kind, where, field, reason string) {
	fs.kind(kind).Rejected++
	fs.Rejected++
	for i := range fs.Rejections {
		if r := &fs.Rejections[i]; r.Field == field && r.Reason == reason {
			r.Count++
			return
		}
	}
	if len(fs.Rejections) >= maxReasonsListed {
		last := &fs.Rejections[len(fs.Rejections)-1]
		if last.Reason != otherReasons {
			fs.Rejections = append(fs.Rejections, RejectReason{Reason: otherReasons, First: where})
			last = &fs.Rejections[len(fs.Rejections)-1]
		}
		last.Count++
		return
	}
	fs.Rejections = append(fs.Rejections, RejectReason{Field: field, Reason: reason, Count: 1, First: where})
}

const otherReasons = "other reasons"

// remember is what the state keeps of a finished file.
func (fs *FileSummary) remember() *remembered {
	return &remembered{
		Format: fs.Format, Counts: fs.Counts, Span: fs.Span, Events: fs.Events,
		Damaged: fs.Damaged, DamageCount: fs.DamageCount, Rejections: fs.Rejections,
	}
}

// recall fills fs from what an earlier import did. What that one accepted is a
// duplicate now.
func (fs *FileSummary) recall(st *state) {
	fs.AlreadyImported = true
	old := st.Summary
	if old == nil {
		return
	}
	again := func(c Counts) Counts {
		c.Duplicate += c.Accepted
		c.Accepted = 0
		return c
	}
	fs.Format, fs.Counts, fs.Span, fs.Records = old.Format, again(old.Counts), old.Span, old.Counts.Read
	for kind, c := range old.Events {
		if c != nil {
			d := again(*c)
			fs.Events[kind] = &d
		}
	}
	fs.Damaged, fs.DamageCount, fs.Rejections = append(fs.Damaged, old.Damaged...), old.DamageCount, append(fs.Rejections, old.Rejections...)
}
