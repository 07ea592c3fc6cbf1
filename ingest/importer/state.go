package importer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// mappingVersion stands in every state: a binary that maps more or otherwise
// reads files again that an older one had done. Raise it with event's mapping.
const mappingVersion = 1

// state is what is known of one file's import for one company. It lies in
// StateDir/COMPANY-SHA256.json, so that imports of different files never meet,
// and a moved or renamed file is still known.
//
// It only spares work. Losing it, or two imports of one file at once, sends
// events again, and their identity keeps them from counting twice.
type state struct {
	Version  int         `json:"version"`
	Salvage  bool        `json:"salvage"`
	Position int         `json:"position"` // records from the start whose events are durable
	Done     bool        `json:"done"`
	Summary  *remembered `json:"summary,omitempty"`

	path    string
	problem string
}

// remembered is the part of a finished file's summary that a later import shows.
type remembered struct {
	Format      string             `json:"format"`
	Counts      Counts             `json:"counts"`
	Events      map[string]*Counts `json:"events"`
	Damaged     []Damaged          `json:"damaged"`
	DamageCount int                `json:"damage_count"`
	Rejections  []RejectReason     `json:"rejections"`
}

// openState reads a file's state. One that is missing, damaged or of another
// version counts as none.
func openState(im *Importer, sum string) state {
	st := state{Version: mappingVersion, Salvage: im.Salvage}
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
	if json.Unmarshal(raw, &old) != nil || old.Version != mappingVersion || old.Salvage != im.Salvage || old.Position < 0 {
		return st
	}
	old.path = st.path
	return old
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
