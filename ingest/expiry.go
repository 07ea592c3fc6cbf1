package ingest

import (
	"time"

	"gatehouse/event"
)

// expiry is the time, in Unix milliseconds, before which ClickHouse deletes the events that it keeps for so
// many months; 0 when it keeps them for ever.
func expiry(now time.Time, months int) int64 {
	if months <= 0 {
		return 0
	}
	// ClickHouse adds the months to the event's time, and takes the last day of a month that lacks the day. So on the 31st all
	// of a month of 30 days is over: nothing in it becomes a 31st.
	now = now.UTC()
	month := now.Month() - time.Month(months)
	if now.Day() > time.Date(now.Year(), month+1, 0, 0, 0, 0, 0, time.UTC).Day() {
		return time.Date(now.Year(), month+1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()
	}
	return time.Date(now.Year(), month, now.Day(), now.Hour(), now.Minute(), now.Second(), now.Nanosecond(), time.UTC).UnixMilli()
}

// errExpired refuses an event that the store may delete as soon as it is written. The words
// do not name the event's time, so that an import can count them as one reason.
func errExpired(months int) *event.Error {
	unit := "months"
	if months == 1 {
		unit = "month"
	}
	return event.FieldError("Timestamp", "is older than the %d %s for which this server keeps events ([ingest] retention_months)", months, unit)
}
