package soak

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"gatehouse/bench"
	"gatehouse/event"
)

// state is what the client knows of one event.
type state uint8

const (
	unsent  state = iota
	unknown       // sent, and no answer that says what became of it
	acked         // the server said that it has it
)

// ledger is the client's own account: every event that it sent, by identity.
type ledger struct {
	mu     sync.Mutex
	events map[event.ID]state
	acks   int64 // answers that acknowledged something new to the ledger
	again  int64 // and something acknowledged before
	tries  int64 // requests without an answer
	full   int64 // requests answered 503 or 429
}

func newLedger() *ledger { return &ledger{events: map[event.ID]state{}} }

// sending notes that events are about to go out.
func (l *ledger) sending(ids []event.ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range ids {
		if l.events[id] == unsent {
			l.events[id] = unknown
		}
	}
}

// ack notes that the server has them.
func (l *ledger) ack(ids []event.ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range ids {
		if l.events[id] == acked {
			l.again++
			continue
		}
		l.events[id] = acked
		l.acks++
	}
}

func (l *ledger) note(counter *int64) {
	l.mu.Lock()
	*counter++
	l.mu.Unlock()
}

// acknowledged is how many different events the server has said that it has.
func (l *ledger) acknowledged() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.acks
}

// verdict compares the ledger with what the server shows.
type verdict struct {
	acked, unknownThere, unknownGone int // events by what became of them
	lost                             []event.ID
	doubled                          []event.ID
	foreign                          []event.ID // shown, and never sent
}

func (v *verdict) ok() bool { return len(v.lost)+len(v.doubled)+len(v.foreign) == 0 }

func (v *verdict) String() string {
	return fmt.Sprintf("%d acknowledged, %d unacknowledged that are there, %d that are not; %d lost, %d doubled, %d never sent",
		v.acked, v.unknownThere, v.unknownGone, len(v.lost), len(v.doubled), len(v.foreign))
}

func (l *ledger) compare(shown map[event.ID]int) *verdict {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := &verdict{}
	for id, st := range l.events {
		n := shown[id]
		switch {
		case st == acked:
			v.acked++
			if n == 0 {
				v.lost = append(v.lost, id)
			}
		case n > 0:
			v.unknownThere++
		default:
			v.unknownGone++
		}
		if n > 1 {
			v.doubled = append(v.doubled, id)
		}
	}
	for id := range shown {
		if _, ok := l.events[id]; !ok {
			v.foreign = append(v.foreign, id)
		}
	}
	return v
}

// pageSize is the largest page of the event search.
const pageSize = 10_000

// showRange is the longest range that is asked for at once; the API's own limit is longer.
const showRange = 4 * 365 * 24 * time.Hour

// showAll reads every event of a company in a range through the API, and how often each stands there.
func showAll(ctx context.Context, client *http.Client, base, key string, from, to time.Time) (map[event.ID]int, error) {
	shown := map[event.ID]int{}
	for ; from.Before(to); from = from.Add(showRange) {
		end := from.Add(showRange)
		if end.After(to) {
			end = to
		}
		if err := showPart(ctx, client, base, key, from, end, shown); err != nil {
			return nil, err
		}
	}
	return shown, nil
}

func showPart(ctx context.Context, client *http.Client, base, key string, from, to time.Time, shown map[event.ID]int) error {
	cursor := ""
	for {
		q := url.Values{
			"from": {from.UTC().Format(time.RFC3339)}, "to": {to.UTC().Format(time.RFC3339)},
			"limit": {strconv.Itoa(pageSize)},
		}
		if cursor != "" {
			q.Set("cursor", cursor)
		}
		text, err := bench.Get(ctx, client, base+"/api/v1/events?"+q.Encode(), key)
		if err != nil {
			return err
		}
		var page struct {
			Rows []struct {
				ID string `json:"id"`
			} `json:"rows"`
			Next string `json:"next_cursor"`
		}
		if err := json.Unmarshal(text, &page); err != nil {
			return err
		}
		for _, r := range page.Rows {
			id, err := event.ParseID(r.ID)
			if err != nil {
				return err
			}
			shown[id]++
		}
		if page.Next == "" {
			return nil
		}
		cursor = page.Next
	}
}
