package soak

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"gatehouse/spool"
)

// spoolRecord makes the n-th record of a round: any reader can tell whether it is one of ours, and which.
func spoolRecord(r *rand.Rand, round, n uint64) []byte {
	b := binary.LittleEndian.AppendUint64(nil, round)
	b = binary.LittleEndian.AppendUint64(b, n)
	for range r.IntN(300) {
		b = append(b, noise(r))
	}
	return binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
}

// spoolNumber is the n of a record of a round.
func spoolNumber(round uint64, b []byte) (uint64, bool) {
	if len(b) < 20 || binary.LittleEndian.Uint64(b) != round {
		return 0, false
	}
	end := len(b) - 4
	return binary.LittleEndian.Uint64(b[8:]), crc32.ChecksumIEEE(b[:end]) == binary.LittleEndian.Uint32(b[end:])
}

var spoolOptions = spool.Options{MaxBytes: 1 << 20, SegmentSize: 16 << 10, Logger: slog.New(slog.DiscardHandler)}

// spoolRound fills a spool, damages its files, opens it again and holds what
// comes out against what went in: only whole records of ours, each once and in order; and
// the spool works on. It gives how many records the damage cost.
func spoolRound(ctx context.Context, r *rand.Rand, dir string, round uint64) (lost int, err error) {
	s, err := spool.Open(dir, spoolOptions)
	if err != nil {
		return 0, err
	}
	total := uint64(0)
	for range 1 + r.IntN(12) {
		var group [][]byte
		for range 1 + r.IntN(30) {
			group = append(group, spoolRecord(r, round, total))
			total++
		}
		if _, err := s.Append(ctx, group...); err != nil {
			return 0, errors.Join(err, s.Close())
		}
	}
	if err := s.Close(); err != nil {
		return 0, err
	}
	damaged, err := damageFiles(r, dir)
	if err != nil {
		return 0, err
	}
	s, err = spool.Open(dir, spoolOptions)
	if err != nil {
		return 0, fmt.Errorf("it does not open after damage to %s: %w", damaged, err)
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	extra := 1 + r.Uint64N(20)
	for n := range extra { // it goes on taking records, whatever it found
		if _, err := s.Append(ctx, spoolRecord(r, round, total+n)); err != nil {
			return 0, fmt.Errorf("it takes no records after damage to %s: %w", damaged, err)
		}
	}
	got, err := readSpool(ctx, s, round)
	if err != nil {
		return 0, fmt.Errorf("after damage to %s: %w", damaged, err)
	}
	seen := map[uint64]bool{}
	for i, n := range got {
		if n >= total+extra || seen[n] || (i > 0 && n < got[i-1]) {
			return 0, fmt.Errorf("after damage to %s: record %d comes out of place: %v", damaged, n, got)
		}
		seen[n] = true
	}
	for n := total; n < total+extra; n++ {
		if !seen[n] {
			return 0, fmt.Errorf("after damage to %s: record %d, appended afterwards, is lost", damaged, n)
		}
	}
	if damaged == "nothing" && uint64(len(got)) != total+extra {
		return 0, fmt.Errorf("%d of %d records come out of a whole spool", len(got), total+extra)
	}
	return int(total+extra) - len(got), nil //nolint:gosec // small numbers
}

func readSpool(ctx context.Context, s *spool.Spool, round uint64) (numbers []uint64, err error) {
	rd := s.NewReader(0)
	defer func() { err = errors.Join(err, rd.Close()) }()
	end := s.Last() + 1
	for {
		records, err := rd.Read(ctx, spool.Limit{Records: 50, Before: end})
		if errors.Is(err, io.EOF) {
			return numbers, nil
		}
		if err != nil {
			return nil, err
		}
		for _, rec := range records {
			n, ok := spoolNumber(round, rec.Data)
			if !ok {
				return nil, fmt.Errorf("a record comes out that never went in: %x", rec.Data)
			}
			numbers = append(numbers, n)
		}
	}
}

// damageFiles damages one or two files of a spool as disks and crashes do, and says which and how.
func damageFiles(r *rand.Rand, dir string) (what string, err error) {
	names, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	var files []string
	for _, f := range names {
		if f.Type().IsRegular() && !strings.Contains(f.Name(), "lock") {
			files = append(files, f.Name())
		}
	}
	if len(files) == 0 || r.IntN(20) == 0 {
		return "nothing", nil
	}
	var said []string
	for range 1 + r.IntN(2) {
		name := files[r.IntN(len(files))]
		path := filepath.Join(dir, name)
		text, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		if len(text) == 0 {
			continue
		}
		used := len(bytes.TrimRight(text, "\x00")) // damage where there is something to damage
		at := r.IntN(max(used, 1))
		how := ""
		switch r.IntN(6) {
		case 0:
			how = "a bit flipped"
			text[at] ^= 1 << r.IntN(8)
		case 1:
			how = "cut off"
			text = text[:at]
		case 2:
			how = "zeroed"
			clear(text[at:min(at+1+r.IntN(5000), len(text))])
		case 3:
			how = "overwritten with noise"
			for i := at; i < min(at+1+r.IntN(600), len(text)); i++ {
				text[i] = noise(r)
			}
		case 4:
			how = "a piece written twice"
			n := min(1+r.IntN(600), len(text)-at)
			to := r.IntN(len(text) - n + 1)
			copy(text[to:to+n], bytes.Clone(text[at:at+n]))
		default:
			how = "longer"
			for range 1 + r.IntN(500) {
				text = append(text, noise(r))
			}
		}
		if err := os.WriteFile(path, text, 0o600); err != nil { //nolint:gosec // a file of the directory that was just listed
			return "", err
		}
		said = append(said, fmt.Sprintf("%s (%s at %d)", name, how, at))
	}
	return strings.Join(said, " and "), nil
}
