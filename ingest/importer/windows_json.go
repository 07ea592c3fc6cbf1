package importer

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse/event"
)

// windowsFromJSON reads a Windows record in the shapes that collectors give it:
//   - nested as the XML is, {"Event": {"System": …, "EventData": …}}, with
//     attributes as "#attributes", "@Name" or plain (evtx_dump, Velociraptor, xmltodict);
//   - {"winlog": {"event_id": …, "event_data": {…}}, "event": {…}, …} and its older flat form (Winlogbeat);
//   - flat, everything on one level (NXLog and data sets made with it).
//
// loc is the zone of times that carry none and nothing to tell it by.
func windowsFromJSON(obj map[string]any, loc *time.Location) (*event.WindowsRecord, error) {
	// First: beside winlog stands an "event" of another meaning (the Elastic Common Schema's).
	if w, ok := lookupObject(obj, "winlog"); ok {
		return flatRecord(w, obj, loc)
	}
	if inner, ok := lookupObject(obj, "Event"); ok {
		if sys, ok := lookupObject(inner, "System"); ok {
			return nestedRecord(sys, inner)
		}
	}
	if sys, ok := lookupObject(obj, "System"); ok {
		return nestedRecord(sys, obj)
	}
	return flatRecord(obj, obj, loc)
}

// lookup finds the first of some keys that is there, exactly or else without regard to case.
func lookup(obj map[string]any, keys ...string) (any, bool) {
	for _, k := range keys {
		if v, ok := obj[k]; ok {
			return v, true
		}
		for have, v := range obj {
			if len(have) == len(k) && strings.EqualFold(have, k) {
				return v, true
			}
		}
	}
	return nil, false
}

// lookupObject is lookup for an object; what stands there and is none counts as missing.
func lookupObject(obj map[string]any, key string) (map[string]any, bool) {
	v, _ := lookup(obj, key)
	m, ok := v.(map[string]any)
	return m, ok
}

// scalar is the text of a string, number or boolean.
func scalar(v any) (string, bool) {
	switch x := v.(type) {
	case string:
		return x, true
	case number:
		return string(x), true
	case bool:
		return strconv.FormatBool(x), true
	}
	return "", false
}

// text is the text of a value, which may be an element with attributes.
func text(v any) string {
	if s, ok := scalar(v); ok {
		return s
	}
	if m, ok := v.(map[string]any); ok {
		for _, k := range []string{"#text", "Value", "value", "_text"} {
			if s, ok := scalar(m[k]); ok {
				return s
			}
		}
	}
	return ""
}

// attribute is an attribute of an element, in whichever way the converter wrote it.
func attribute(v any, name string) string {
	m, ok := v.(map[string]any)
	if !ok {
		return ""
	}
	for _, holder := range []string{"#attributes", "$", "@attributes"} {
		if inner, ok := m[holder].(map[string]any); ok {
			if s, ok := lookup(inner, name); ok {
				return text(s)
			}
		}
	}
	if s, ok := lookup(m, name, "@"+name, "-"+name); ok {
		return text(s)
	}
	return ""
}

func nestedRecord(sys, obj map[string]any) (*event.WindowsRecord, error) {
	get := func(name string) any { v, _ := lookup(sys, name); return v }
	r := &event.WindowsRecord{
		Channel:  text(get("Channel")),
		Computer: text(get("Computer")),
		Provider: attribute(get("Provider"), "Name"),
		UserSID:  attribute(get("Security"), "UserID"),
	}
	if r.Provider == "" {
		r.Provider = text(get("Provider"))
	}
	created := attribute(get("TimeCreated"), "SystemTime")
	if created == "" {
		created = text(get("TimeCreated"))
	}
	if err := setKey(r, text(get("EventID")), text(get("EventRecordID")), created); err != nil {
		return nil, err
	}
	if !event.WindowsMapped(r.Provider, r.EventID) {
		return r, nil // its data will not be looked at
	}
	for _, part := range []string{"EventData", "UserData"} {
		if v, ok := lookup(obj, part); ok {
			addData(r, v, 0)
		}
	}
	return r, nil
}

// setKey reads what every record must have.
func setKey(r *event.WindowsRecord, id, recordID, created string) error {
	n, err := strconv.ParseUint(strings.TrimSpace(id), 0, 32)
	if err != nil {
		return errors.New("neither a Windows event (no EventID) nor a record with an EventType")
	}
	r.EventID = uint32(n)
	if recordID = strings.TrimSpace(recordID); recordID != "" {
		if r.RecordID, err = strconv.ParseUint(recordID, 10, 64); err != nil {
			return fmt.Errorf("EventRecordID %q is not a number", clip(recordID))
		}
	}
	if r.Provider == "" {
		return errors.New("no provider: an event id alone does not tell what happened")
	}
	// Windows writes UTC; what comes without a Z means it too.
	if r.Time, err = event.ParseTime(created, time.UTC); err != nil {
		return fmt.Errorf("TimeCreated %q is not a time", clip(created))
	}
	return nil
}

func clip(s string) string {
	const most = 64
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// maxData bounds the values of one record.
const maxData = 1024

// addData collects the values of EventData or UserData: an object of names,
// or Data elements with a Name each, or bare texts.
func addData(r *event.WindowsRecord, v any, depth int) {
	m, ok := v.(map[string]any)
	if !ok || depth > 4 {
		return
	}
	for _, key := range sortedKeys(m) {
		value := m[key]
		if len(r.Data) >= maxData {
			return
		}
		switch {
		case key == "Data":
			addElements(r, value)
		case strings.HasPrefix(key, "#"), strings.HasPrefix(key, "@"):
		default:
			if s, ok := scalar(value); ok {
				r.Data = append(r.Data, event.WindowsValue{Name: key, Value: s})
			} else {
				addData(r, value, depth+1)
			}
		}
	}
}

// addElements reads <Data> elements.
func addElements(r *event.WindowsRecord, v any) {
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	for _, item := range list {
		if len(r.Data) >= maxData {
			return
		}
		r.Data = append(r.Data, event.WindowsValue{Name: attribute(item, "Name"), Value: text(item)})
	}
}

// sortedKeys makes the order of values that of their names, whatever the map's.
func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// flatRecord reads a record whose parts stand side by side in m. top is the
// whole object, which may hold the time.
func flatRecord(m, top map[string]any, loc *time.Location) (*event.WindowsRecord, error) {
	get := func(keys ...string) string {
		v, ok := lookup(m, keys...)
		if !ok {
			return ""
		}
		return text(v)
	}
	r := &event.WindowsRecord{
		Provider: get("SourceName", "ProviderName", "provider_name", "source_name", "Provider"),
		Channel:  get("Channel", "LogName", "log_name"),
		// Not "host": collectors put their own name there.
		Computer: get("Hostname", "Computer", "ComputerName", "computer_name", "MachineName"),
		UserSID:  get("UserID"),
	}
	if r.Provider == "" {
		if v, ok := lookup(m, "Provider"); ok {
			r.Provider = attribute(v, "Name")
		}
	}
	created, err := flatTime(m, top, loc)
	if err != nil {
		return nil, err
	}
	id, record := get("EventID", "event_id", "Id"), get("EventRecordID", "RecordNumber", "record_id", "record_number", "RecordId")
	if err := setKey(r, id, record, created); err != nil {
		return nil, err
	}
	if !event.WindowsMapped(r.Provider, r.EventID) {
		return r, nil // its data will not be looked at
	}
	if v, ok := lookup(m, "event_data", "EventData"); ok {
		addData(r, v, 0)
		if v, ok := lookup(m, "user_data", "UserData"); ok {
			addData(r, v, 0)
		}
		return r, nil
	}
	if v, ok := lookup(m, "Payload"); ok { // EvtxECmd's CSV
		if s, ok := v.(string); ok && strings.HasPrefix(s, "{") {
			if p, _, err := decodeObject([]byte(s)); err == nil {
				if inner, ok := lookup(p, "EventData", "UserData"); ok {
					addData(r, inner, 0)
					return r, nil
				}
			}
		}
	}
	addData(r, m, 4) // this level alone
	return r, nil
}

// flatTime finds the time of the event itself, which collectors keep beside
// the time they took it at.
func flatTime(m, top map[string]any, loc *time.Location) (string, error) {
	for _, key := range []string{"TimeCreated", "SystemTime", "time_created"} {
		if v, ok := lookup(m, key); ok {
			if s := attribute(v, "SystemTime"); s != "" {
				return s, nil
			}
			if s := text(v); s != "" {
				return dotNetDate(s), nil
			}
		}
	}
	if v, ok := lookup(m, "EventTime"); ok {
		return nxlogTime(text(v), m, top, loc)
	}
	if v, ok := lookup(top, "@timestamp"); ok { // Winlogbeat: the event's own time
		return text(v), nil
	}
	return "", errors.New("no time: TimeCreated, EventTime and @timestamp are missing")
}

// dotNetDate reads the /Date(1617206400123)/ of older PowerShells as Unix milliseconds.
func dotNetDate(s string) string {
	if rest, ok := strings.CutPrefix(s, "/Date("); ok {
		if ms, ok := strings.CutSuffix(rest, ")/"); ok {
			return ms
		}
	}
	return s
}

const nxlogLayout = "2006-01-02 15:04:05"

// nxlogTime makes UTC of NXLog's EventTime, which is local time without its
// zone. The offset shows in EventReceivedTime, on the same clock, against
// @timestamp, which the collector set in UTC at the same moment: it is their
// difference in whole quarters of an hour, as zones are.
func nxlogTime(s string, m, top map[string]any, loc *time.Location) (string, error) {
	local, err := time.Parse(nxlogLayout, s)
	if err != nil {
		return s, nil //nolint:nilerr // another form, with its zone: setKey reads it or tells
	}
	got, _ := lookup(m, "EventReceivedTime")
	at, _ := lookup(top, "@timestamp")
	received, err1 := time.Parse(nxlogLayout, text(got))
	taken, err2 := event.ParseTime(text(at), time.UTC)
	if err1 != nil || err2 != nil {
		if loc == nil {
			loc = time.UTC
		}
		t, err := time.ParseInLocation(nxlogLayout, s, loc)
		if err != nil {
			return "", fmt.Errorf("EventTime %q is not a time", clip(s))
		}
		return t.UTC().Format(time.RFC3339Nano), nil
	}
	const quarter = 15 * time.Minute
	offset := time.UnixMilli(taken).Sub(received).Round(quarter)
	return local.Add(offset).UTC().Format(time.RFC3339Nano), nil
}
