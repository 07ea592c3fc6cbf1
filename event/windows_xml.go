package event

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// Limits on one XML record: Windows itself keeps a record within 64 KiB.
const (
	maxXMLDepth  = 32   // elements within elements; deeper ones are refused
	maxXMLValues = 1024 // EventData values; the rest of a record's are ignored
)

// WindowsBuilder makes a [WindowsRecord] of the elements of an Event document
// in whatever encoding: call Start, Attr, Text and End as the document goes.
// The zero value is ready.
type WindowsBuilder struct {
	rec   WindowsRecord
	path  []string // the open elements, by local name
	name  string   // of the value being read: its Name attribute
	text  strings.Builder
	dirty error
}

// Reset makes b ready for the next record.
func (b *WindowsBuilder) Reset() {
	b.rec, b.path, b.name, b.dirty = WindowsRecord{}, b.path[:0], "", nil
	b.text.Reset()
}

// Start opens an element.
func (b *WindowsBuilder) Start(name string) {
	if len(b.path) >= maxXMLDepth {
		b.fail("elements nest too deep")
	}
	b.path = append(b.path, name)
	b.text.Reset()
	b.name = ""
}

func (b *WindowsBuilder) fail(why string) {
	if b.dirty == nil {
		b.dirty = errors.New(why)
	}
}

// section is the part of the record that the open element stands in: "System",
// "EventData", "UserData" or "".
func (b *WindowsBuilder) section() string {
	for i, p := range b.path {
		if i > 1 {
			break
		}
		switch p {
		case "System", "EventData", "UserData":
			return p
		}
	}
	return ""
}

// Attr gives an attribute of the open element.
func (b *WindowsBuilder) Attr(name, value string) {
	if len(b.path) == 0 {
		return
	}
	element := b.path[len(b.path)-1]
	switch b.section() {
	case "System":
		switch {
		case element == "Provider" && name == "Name":
			b.rec.Provider = strings.TrimSpace(value)
		case element == "TimeCreated" && name == "SystemTime":
			b.setTime(value)
		case element == "Security" && name == "UserID":
			b.rec.UserSID = value
		}
	case "EventData":
		if name == "Name" {
			b.name = value
		}
	}
}

func (b *WindowsBuilder) setTime(value string) {
	// Windows writes UTC; exports without the Z mean it too.
	ms, err := ParseTime(value, time.UTC)
	if err != nil {
		b.fail(fmt.Sprintf("SystemTime %q is not a time", clip(value, 64)))
		return
	}
	b.rec.Time = ms
}

// Text gives a piece of the open element's text.
func (b *WindowsBuilder) Text(s string) {
	if b.text.Len()+len(s) <= 1<<16 {
		b.text.WriteString(s)
	}
}

// End closes the open element.
func (b *WindowsBuilder) End() {
	if len(b.path) == 0 {
		b.fail("an element ends that did not begin")
		return
	}
	element, section := b.path[len(b.path)-1], b.section()
	text := b.text.String()
	switch section {
	case "System":
		b.endSystem(element, strings.TrimSpace(text))
	case "EventData":
		if element == "Data" {
			b.add(b.name, text)
		}
	case "UserData":
		if strings.TrimSpace(text) != "" {
			b.add(element, text)
		}
	}
	b.path = b.path[:len(b.path)-1]
	b.text.Reset()
	b.name = ""
}

func (b *WindowsBuilder) endSystem(element, text string) {
	if text == "" {
		return
	}
	switch element {
	case "EventID":
		id, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			b.fail(fmt.Sprintf("EventID %q is not a number", clip(text, 64)))
			return
		}
		b.rec.EventID = uint32(id)
	case "EventRecordID":
		id, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			b.fail(fmt.Sprintf("EventRecordID %q is not a number", clip(text, 64)))
			return
		}
		b.rec.RecordID = id
	case "Channel":
		b.rec.Channel = text
	case "Computer":
		b.rec.Computer = text
	}
}

func (b *WindowsBuilder) add(name, value string) {
	if len(b.rec.Data) < maxXMLValues {
		b.rec.Data = append(b.rec.Data, WindowsValue{name, value})
	}
}

// Kind tells what the record is as soon as its System part is read.
func (b *WindowsBuilder) Kind() (provider string, id uint32) {
	return b.rec.Provider, b.rec.EventID
}

// Record is what was built. It fails when the document was no Event record.
func (b *WindowsBuilder) Record() (WindowsRecord, error) {
	switch {
	case b.dirty != nil:
		return b.rec, b.dirty
	case b.rec.Provider == "" && b.rec.EventID == 0:
		return b.rec, errors.New("no provider and no event id")
	case b.rec.Time == 0:
		return b.rec, errors.New("no TimeCreated")
	}
	return b.rec, nil
}

// ParseWindowsXML reads one <Event> as Windows renders it.
func ParseWindowsXML(raw []byte) (WindowsRecord, error) {
	d := xml.NewDecoder(bytes.NewReader(raw))
	d.CharsetReader = func(_ string, in io.Reader) (io.Reader, error) { return in, nil } // callers give UTF-8, whatever the header says
	return ReadWindowsXML(d, nil)
}

// ReadWindowsXML reads the next <Event> of a stream, skipping what encloses
// it (exports put many into <Events>). io.EOF says that there is no more. When
// start is not nil, it is the <Event> that the caller has read already.
// The record has no ContentHash: the caller knows the raw text.
func ReadWindowsXML(d *xml.Decoder, start *xml.StartElement) (WindowsRecord, error) {
	var b WindowsBuilder
	depth := 0
	if start != nil {
		b.Start(start.Name.Local)
		depth = 1
	}
	for {
		tok, err := d.Token()
		if err != nil {
			if errors.Is(err, io.EOF) && depth == 0 {
				return WindowsRecord{}, io.EOF
			}
			return WindowsRecord{}, fmt.Errorf("not whole XML: %w", err)
		}
		switch t := tok.(type) {
		case xml.StartElement:
			if depth == 0 && t.Name.Local != "Event" {
				continue
			}
			depth++
			b.Start(t.Name.Local)
			for _, a := range t.Attr {
				b.Attr(a.Name.Local, a.Value)
			}
		case xml.CharData:
			if depth > 0 {
				b.Text(string(t))
			}
		case xml.EndElement:
			if depth == 0 {
				continue
			}
			b.End()
			if depth--; depth == 0 {
				return b.Record()
			}
		}
	}
}
