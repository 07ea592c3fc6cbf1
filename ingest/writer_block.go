package ingest

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"strconv"
	"time"

	"gatehouse/event"
	"gatehouse/spool"
)

// writeBlock is a stretch of the spool on its way into one insert: its events
// by column, so that a hundred thousand of them are a few large allocations that
// the next block uses again. A row of it costs about 170 bytes.
type writeBlock struct {
	from, next spool.Position // the records [from, next)
	records    int            // how many of them there are
	bytes      int            // of those records, as the spool had them
	oldest     time.Time      // when the first of them was appended
	rows       []uint32       // those to insert, after the duplicates are out
	results    *tally         // what is known of its events so far
	place      *stretch       // since its duplicates are out
	most       int            // rows it is made for, 0: any number

	ids                                           []event.ID
	company, site                                 []uint32
	time, lag                                     []int64
	kind, account, logonType, elevated            []uint8
	localIP, publicIP, sourceIP                   [][16]byte
	status, subStatus                             []uint32
	eventID, retry                                []uint16
	logonID, linkedLogonID, recordID, contentHash []uint64
	names                                         [numNames][]uint32 // indexes into dict

	dict   nameDict
	index  idIndex
	record event.Stored // the one being added
	stray  []strayRecord
}

// The names of an event in the order of event.Stored.
const (
	nameUser = iota
	nameComputer
	nameDomain
	nameSID
	nameSourceHost
	nameChannel
	nameProvider
	nameAgent
	numNames = event.NumNames
)

// strayRecord is a record that is no event of ours, on its way to be set aside.
type strayRecord struct {
	key    string // names it for good, so that it is set aside once
	data   []byte
	reason string
}

func newWriteBlock() *writeBlock {
	b := &writeBlock{}
	b.dict.reset()
	return b
}

// len is the number of events, duplicates included.
func (b *writeBlock) len() int { return len(b.ids) }

func (b *writeBlock) reset(from spool.Position) {
	b.from, b.next, b.records, b.bytes, b.oldest, b.place = from, from, 0, 0, time.Time{}, nil
	b.rows, b.ids = b.rows[:0], b.ids[:0]
	b.company, b.site = b.company[:0], b.site[:0]
	b.time, b.lag = b.time[:0], b.lag[:0]
	b.kind, b.account, b.logonType, b.elevated = b.kind[:0], b.account[:0], b.logonType[:0], b.elevated[:0]
	b.localIP, b.publicIP, b.sourceIP = b.localIP[:0], b.publicIP[:0], b.sourceIP[:0]
	b.status, b.subStatus = b.status[:0], b.subStatus[:0]
	b.eventID, b.retry = b.eventID[:0], b.retry[:0]
	b.logonID, b.linkedLogonID = b.logonID[:0], b.linkedLogonID[:0]
	b.recordID, b.contentHash = b.recordID[:0], b.contentHash[:0]
	for i := range b.names {
		b.names[i] = b.names[i][:0]
	}
	b.dict.reset()
	b.stray, b.results = nil, nil
}

var (
	errUnknownAccount = errors.New("the kind of account is none that this version knows")
	errTimeRange      = errors.New("the time lies outside of what the store can hold")
)

// maxEventTime is the end of 2148, where ClickHouse's Date ends: the sorting key
// could not tell days apart beyond it.
var maxEventTime = time.Date(2149, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()

// add takes one record in. A record that cannot be an event of ours is kept to be set aside.
func (b *writeBlock) add(r spool.Record) {
	if b.records == 0 {
		b.oldest = r.Time
	}
	b.records++
	b.bytes += len(r.Data)
	b.next = r.Pos + 1
	if err := b.decode(r.Data); err != nil {
		b.stray = append(b.stray, strayRecord{key: "position " + strconv.FormatUint(uint64(r.Pos), 10), data: append([]byte(nil), r.Data...), reason: err.Error()})
	}
}

func (b *writeBlock) decode(data []byte) error {
	s := &b.record
	if err := s.Decode(data); err != nil {
		return err
	}
	e := &s.Event
	// What the spool holds went through Normalize once. A value that the
	// store's types cannot hold can only come from another version of this program.
	if e.Account < event.AccountUser || e.Account > event.AccountNone {
		return errUnknownAccount
	}
	if e.Time <= 0 || e.Time >= maxEventTime {
		return errTimeRange
	}
	row := len(b.ids)
	if row == cap(b.ids) {
		b.grow()
	}
	b.addNames(&s.Names, row)
	b.company, b.site = append(b.company, e.CompanyID), append(b.site, e.SiteID)
	b.time, b.lag = append(b.time, e.Time), append(b.lag, e.Received-e.Time)
	b.kind, b.account = append(b.kind, uint8(e.Type)), append(b.account, uint8(e.Account)) // small enumerations, checked above and in Decode
	elevated := uint8(0)
	if e.Elevated {
		elevated = 1
	}
	b.logonType, b.elevated = append(b.logonType, e.LogonType), append(b.elevated, elevated)
	b.localIP = append(b.localIP, addr16(e.LocalIP))
	b.publicIP = append(b.publicIP, addr16(e.PublicIP))
	b.sourceIP = append(b.sourceIP, addr16(e.SourceIP))
	b.status, b.subStatus = append(b.status, e.Status), append(b.subStatus, e.SubStatus)
	b.eventID, b.retry = append(b.eventID, e.EventID), append(b.retry, e.Retry)
	b.logonID, b.linkedLogonID = append(b.logonID, e.LogonID), append(b.linkedLogonID, e.LinkedLogonID)
	b.recordID, b.contentHash = append(b.recordID, e.RecordID), append(b.contentHash, e.ContentHash)
	user, computer := b.dict.folded(b.names[nameUser][row]), b.dict.folded(b.names[nameComputer][row])
	if s.ID == (event.ID{}) { // of an earlier version of this program
		e.User, e.Computer = b.dict.text[user], b.dict.text[computer]
		s.ID = e.ID()
	}
	b.ids = append(b.ids, s.ID)
	return nil
}

// addNames numbers a record's names. What a user's events say of computer, domain and so on is mostly what the
// last one said: that is tried before the dictionary is asked.
func (b *writeBlock) addNames(names *[numNames][]byte, row int) {
	d := &b.dict
	user := d.number(names[nameUser])
	like := int(d.last[user]) - 1
	if like < 0 {
		like = row - 1
	}
	d.last[user] = uint32(row) + 1 //nolint:gosec // bounded by BlockRows
	b.names[nameUser] = append(b.names[nameUser], user)
	for i := nameUser + 1; i < numNames; i++ {
		raw, column := names[i], b.names[i]
		n := uint32(0)
		switch {
		case len(raw) == 0:
		case like >= 0 && d.text[column[like]] == string(raw):
			n = column[like]
		default:
			n = d.number(raw)
		}
		b.names[i] = append(column, n)
	}
}

// grow makes room for four times as many rows, in every column at once: each growing by itself would leave several
// times the block's size to the collector.
func (b *writeBlock) grow() {
	rows := max(1<<12, 4*cap(b.ids))
	if b.most > 0 {
		rows = max(min(rows, b.most), len(b.ids)+1)
	}
	n := rows - len(b.ids)
	b.ids = slices.Grow(b.ids, n)
	b.company, b.site = slices.Grow(b.company, n), slices.Grow(b.site, n)
	b.time, b.lag = slices.Grow(b.time, n), slices.Grow(b.lag, n)
	b.kind, b.account = slices.Grow(b.kind, n), slices.Grow(b.account, n)
	b.logonType, b.elevated = slices.Grow(b.logonType, n), slices.Grow(b.elevated, n)
	b.localIP, b.publicIP, b.sourceIP = slices.Grow(b.localIP, n), slices.Grow(b.publicIP, n), slices.Grow(b.sourceIP, n)
	b.status, b.subStatus = slices.Grow(b.status, n), slices.Grow(b.subStatus, n)
	b.eventID, b.retry = slices.Grow(b.eventID, n), slices.Grow(b.retry, n)
	b.logonID, b.linkedLogonID = slices.Grow(b.logonID, n), slices.Grow(b.linkedLogonID, n)
	b.recordID, b.contentHash = slices.Grow(b.recordID, n), slices.Grow(b.contentHash, n)
	for i := range b.names {
		b.names[i] = slices.Grow(b.names[i], n)
	}
	b.rows = slices.Grow(b.rows, n)
}

// eventAt is the row as an event again.
func (b *writeBlock) eventAt(row uint32) event.Event {
	name := func(i int) string { return b.dict.text[b.names[i][row]] }
	return event.Event{
		CompanyID: b.company[row], SiteID: b.site[row], Time: b.time[row], Received: b.time[row] + b.lag[row],
		Type: event.Type(b.kind[row]), Account: event.Account(b.account[row]),
		User: name(nameUser), Computer: name(nameComputer), Domain: name(nameDomain), SID: name(nameSID),
		LogonID: b.logonID[row], LinkedLogonID: b.linkedLogonID[row], LogonType: b.logonType[row], Elevated: b.elevated[row] != 0,
		LocalIP: addrOf(b.localIP[row]), PublicIP: addrOf(b.publicIP[row]), SourceIP: addrOf(b.sourceIP[row]),
		SourceHost: name(nameSourceHost), Status: b.status[row], SubStatus: b.subStatus[row],
		EventID: b.eventID[row], RecordID: b.recordID[row], ContentHash: b.contentHash[row],
		Channel: name(nameChannel), Provider: name(nameProvider), Agent: name(nameAgent), Retry: b.retry[row],
	}
}

// day is the row's UTC date as days since 1970: what the sorting key has after the company.
func (b *writeBlock) day(row uint32) uint16 {
	return uint16(b.time[row] / (24 * 60 * 60 * 1000)) //nolint:gosec // add keeps times between 1970 and 2149
}

// nameDict numbers the names of one block. Number 0 is the empty name.
type nameDict struct {
	numbers map[string]uint32
	text    []string
	fold    []uint32 // the number of the folded name, notFolded until asked
	last    []uint32 // 1 + the row that named it last as the user
}

const notFolded = math.MaxUint32

// maxKeptNames is how large a dictionary may stay for the next block. A map that
// was once huge would be slow to empty each time.
const maxKeptNames = 1 << 17

func (d *nameDict) reset() {
	if d.numbers == nil || len(d.numbers) > maxKeptNames {
		d.numbers = make(map[string]uint32, 1<<10)
	} else {
		clear(d.numbers)
	}
	clear(d.text)
	d.text, d.fold, d.last = append(d.text[:0], ""), append(d.fold[:0], 0), append(d.last[:0], 0)
	d.numbers[""] = 0
}

// number is that of a name, which is copied when it is new.
func (d *nameDict) number(name []byte) uint32 {
	if len(name) == 0 {
		return 0
	}
	if n, ok := d.numbers[string(name)]; ok {
		return n
	}
	return d.add(string(name))
}

func (d *nameDict) add(name string) uint32 {
	n := uint32(len(d.text)) //nolint:gosec // a block has fewer names than 2^32
	d.numbers[name] = n
	d.text, d.fold, d.last = append(d.text, name), append(d.fold, notFolded), append(d.last, 0)
	return n
}

func (d *nameDict) folded(n uint32) uint32 {
	if d.fold[n] == notFolded {
		folded := event.Fold(d.text[n])
		f, ok := d.numbers[folded]
		if !ok {
			f = d.add(folded)
		}
		d.fold[n] = f
	}
	return d.fold[n]
}

// idIndex finds rows of one block by their id: open addressing over row numbers.
type idIndex struct {
	slots []uint32 // row + 1, 0 is free
	mask  uint64
}

func (x *idIndex) reset(rows int) {
	n := 16
	for n < 2*rows {
		n *= 2
	}
	if len(x.slots) == n {
		clear(x.slots)
		return
	}
	x.slots, x.mask = make([]uint32, n), uint64(n-1) //nolint:gosec // positive
}

// slot is where id stands, or the free place where it would.
func (x *idIndex) slot(ids []event.ID, id event.ID) uint64 {
	for i := binary.LittleEndian.Uint64(id[:8]) & x.mask; ; i = (i + 1) & x.mask {
		if r := x.slots[i]; r == 0 || ids[r-1] == id {
			return i
		}
	}
}

// find is the row of id.
func (x *idIndex) find(ids []event.ID, id event.ID) (row uint32, ok bool) {
	if len(x.slots) == 0 {
		return 0, false
	}
	r := x.slots[x.slot(ids, id)]
	return r - 1, r != 0
}

func (x *idIndex) has(ids []event.ID, id event.ID) bool {
	return len(x.slots) > 0 && x.slots[x.slot(ids, id)] != 0
}

// add puts row in; false when a row of the same id is there.
func (x *idIndex) add(ids []event.ID, row uint32) bool {
	i := x.slot(ids, ids[row])
	if x.slots[i] != 0 {
		return false
	}
	x.slots[i] = row + 1
	return true
}
