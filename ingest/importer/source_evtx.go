package importer

import (
	"errors"
	"fmt"
	"io"

	"gatehouse/event"
	"gatehouse/ingest/importer/evtx"
)

// evtxSource reads a Windows event log file.
type evtxSource struct {
	in *input
	r  *evtx.Reader
}

func newEVTXSource(r io.Reader, in *input) (*evtxSource, error) {
	er, err := evtx.NewReader(r, evtx.Options{Wanted: event.WindowsMapped, Salvage: in.im.Salvage})
	if err != nil {
		return nil, err
	}
	return &evtxSource{in, er}, nil
}

func (s *evtxSource) next() (record, error) {
	wr, err := s.r.Next()
	var d *evtx.Damage
	switch {
	case errors.As(err, &d):
		return record{}, &damage{d.Where, d.Reason}
	case err != nil:
		return record{}, err
	}
	return s.in.windows(fmt.Sprintf("record %d", wr.RecordID), &wr), nil
}
