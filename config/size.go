package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Size is a number of bytes.
type Size int64

var sizeUnits = []struct {
	name  string
	bytes int64
}{
	// The longer names first, since "B" ends them all. KB and K mean 1024, as in the configuration of most servers:
	// that a limit is 2 % larger than meant hurts nobody.
	{"TIB", 1 << 40},
	{"GIB", 1 << 30},
	{"MIB", 1 << 20},
	{"KIB", 1 << 10},
	{"TB", 1 << 40},
	{"GB", 1 << 30},
	{"MB", 1 << 20},
	{"KB", 1 << 10},
	{"T", 1 << 40},
	{"G", 1 << 30},
	{"M", 1 << 20},
	{"K", 1 << 10},
	{"B", 1},
}

// ParseSize reads a number of bytes such as 1048576, 64KiB or 1.5 GiB.
func ParseSize(s string) (Size, error) {
	text := strings.ToUpper(strings.TrimSpace(s))
	unit := int64(1)
	for _, u := range sizeUnits {
		if number, ok := strings.CutSuffix(text, u.name); ok {
			text, unit = strings.TrimSpace(number), u.bytes
			break
		}
	}
	if whole, err := strconv.ParseInt(text, 10, 64); err == nil && whole >= 0 && whole <= math.MaxInt64/unit {
		return Size(whole * unit), nil
	}
	// Only digits and a point: ParseFloat alone would take "1e9", "inf" and "0x1p3" too.
	if strings.Trim(text, "0123456789.") == "" {
		if f, err := strconv.ParseFloat(text, 64); err == nil && f*float64(unit) < math.MaxInt64/2 {
			return Size(math.Round(f * float64(unit))), nil
		}
	}
	return 0, fmt.Errorf("%q is not a size: write for instance 512KiB, 32MiB or 8GiB", s)
}

// String is the shortest form that ParseSize reads back exactly.
func (s Size) String() string {
	for _, u := range []struct {
		name  string
		bytes int64
	}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if s > 0 && int64(s)%u.bytes == 0 {
			return strconv.FormatInt(int64(s)/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}
