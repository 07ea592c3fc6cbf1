package ingest

import (
	"encoding/binary"

	"gatehouse/event"
)

// ContentTypeFrames is the content type of events in their binary form, each behind
// its length as a varint. Only trusted local callers send it.
const ContentTypeFrames = "application/x-gatehouse-events"

// maxFrame is above what any event encodes to (eight names of event.MaxName bytes and
// some numbers); a longer frame is damage.
const maxFrame = 8 << 10

// appendFrame appends e as one frame.
func appendFrame(b []byte, e *event.Event) []byte {
	start := len(b)
	b = append(b, 0, 0) // a length below 16,384 written in two bytes
	b = e.AppendBinary(b)
	n := len(b) - start - 2
	b[start], b[start+1] = byte(n)|0x80, byte(n>>7) //nolint:gosec // the low and the next seven bits, as a varint has them
	return b
}

// decodeFrames reads frames into b. The tenant is the request's, whatever the events say.
// A frame that holds no valid event is refused alone; a wrong length ends the
// request, since nothing behind it can be found.
func decodeFrames(b *batch, text []byte) error {
	received := b.parse.Now.UnixMilli()
	for off := 0; off < len(text); {
		n, width := binary.Uvarint(text[off:])
		if width <= 0 || n > maxFrame || n > uint64(len(text)-off-width) { //nolint:gosec // never negative: width is within the text
			return event.Errorf(event.CodeInvalid, "no whole frame at byte %d", off)
		}
		if b.full() {
			return errTooMany(b.limit)
		}
		off += width
		frame := text[off : off+int(n)]
		off += int(n)
		e := &b.ev
		if err := e.DecodeBinary(frame, borrow); err != nil {
			b.unreadable++
			if err := b.reject(event.Wrap(event.CodeInvalid, err, "is not an event of this version")); err != nil {
				return err
			}
			continue
		}
		e.CompanyID, e.SiteID, e.Received = b.parse.CompanyID, b.parse.SiteID, received
		if err := e.Normalize(b.parse.Now); err != nil {
			if err := b.reject(asError(err)); err != nil {
				return err
			}
			continue
		}
		if err := b.add(e); err != nil {
			return err
		}
	}
	return nil
}
