package importer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"gatehouse/event"
)

// mappingVersion stands in every state: a binary that maps more or otherwise
// reads files again that an older one had done. Raise it with event's mapping.
const mappingVersion = 2

// state is what is known of one file's import for one company. It lies in
// StateDir/COMPANY-SHA256.json, so that imports of different files never meet,
// and a moved or renamed file is still known.
//
// It only spares work. Losing it, or two imports of one file at once, sends
// events again, and their identity keeps them from counting twice. Believing a wrong
// one would leave events out, so it counts only for the store that it tells of, and while
// that still has the last event that came by the file: an older copy of it may not.
type state struct {
	Version  int         `json:"version"`
	Store    string      `json:"store"`
	Proof    []byte      `json:"proof,omitempty"` // an event, encoded: the last, of those that were new if any were
	Salvage  bool        `json:"salvage"`
	Position int         `json:"position"` // records from the start whose events are durable
	Done     bool        `json:"done"`
	Summary  *remembered `json:"summary,omitempty"`

	path    string
	problem string
}

// remembered is the part of a finished file's summary that a later import shows.
type remembered struct {
	Format string `json:"format"`
	Counts Counts `json:"counts"`
	Span
	Events      map[string]*Counts `json:"events"`
	Damaged     []Damaged          `json:"damaged"`
	DamageCount int                `json:"damage_count"`
	Rejections  []RejectReason     `json:"rejections"`
}

// openState reads a file's state. One that is missing, damaged, of another
// version or of another store counts as none.
func openState(ctx context.Context, im *Importer, sum string) state {
	st := state{Version: mappingVersion, Store: im.Store, Salvage: im.Salvage}
	if im.StateDir == "" {
		return st
	}
	st.path = filepath.Join(im.StateDir, fmt.Sprintf("%d-%s.json", im.CompanyID, sum))
	raw, err := os.ReadFile(st.path)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			st.problem = reasonOf(err)
		}
		return st
	}
	var old state
	if json.Unmarshal(raw, &old) != nil || old.Version != mappingVersion || old.Store != im.Store || old.Salvage != im.Salvage || old.Position < 0 {
		return st
	}
	if !im.Again && !old.proven(ctx, im) {
		return st
	}
	old.path = st.path
	return old
}

// proven tells whether the store has what the state says it has. One that does not answer has not.
func (st *state) proven(ctx context.Context, im *Importer) bool {
	if im.Stored == nil || len(st.Proof) == 0 {
		return true
	}
	var e event.Event
	if e.DecodeBinary(st.Proof, nil) != nil {
		return false
	}
	n, err := im.Stored(ctx, []event.Event{e})
	return err == nil && n == 1
}

// save writes the state beside the old one and renames it over. A failure is
// no reason to stop the import: it is told in the summary.
func (st *state) save() {
	if st.path == "" {
		return
	}
	st.problem = ""
	if err := st.write(); err != nil {
		st.problem = reasonOf(err)
	}
}

func (st *state) write() error {
	raw, err := json.Marshal(st)
	if err != nil {
		return err
	}
	dir := filepath.Dir(st.path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(dir, ".state-*")
	if err != nil {
		return err
	}
	_, err = tmp.Write(raw)
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), st.path)
	}
	if err != nil {
		_ = os.Remove(tmp.Name()) // it is of no use, and harmless
	}
	return err
}
