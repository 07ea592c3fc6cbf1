package query

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// paramEscaper writes a text as ClickHouse reads a whole parameter value:
// like a field of a tab-separated line.
var paramEscaper = strings.NewReplacer("\\", "\\\\", "\t", "\\t", "\n", "\\n", "\r", "\\r", "\x00", "\\0", "\b", "\\b", "\f", "\\f")

// quoteEscaper writes a text between the quotes of an array's element.
var quoteEscaper = strings.NewReplacer("\\", "\\\\", "'", "\\'", "\t", "\\t", "\n", "\\n", "\r", "\\r", "\x00", "\\0", "\b", "\\b", "\f", "\\f")

// bind writes the values in the text form of bound parameters.
func (a args) bind() (clickhouse.Parameters, error) {
	out := make(clickhouse.Parameters, len(a))
	for name, v := range a {
		s, err := bindValue(v)
		if err != nil {
			return nil, fmt.Errorf("bind %s: %w", name, err)
		}
		out[name] = s
	}
	return out, nil
}

func bindValue(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return paramEscaper.Replace(v), nil
	case bool:
		if v {
			return "1", nil
		}
		return "0", nil
	case time.Time:
		return strconv.FormatInt(v.UnixMilli(), 10), nil
	case netip.Addr:
		return addr16(v), nil
	case int, int8, int16, int32, int64, uint, uint8, uint16, uint32, uint64:
		return fmt.Sprint(v), nil
	case []int64:
		return bindList(v, func(n int64) string { return strconv.FormatInt(n, 10) }), nil
	case []uint8:
		return bindList(v, func(n uint8) string { return strconv.Itoa(int(n)) }), nil
	case []uint32:
		return bindList(v, func(n uint32) string { return strconv.FormatUint(uint64(n), 10) }), nil
	case []string:
		return bindList(v, func(s string) string { return "'" + quoteEscaper.Replace(s) + "'" }), nil
	default:
		return "", fmt.Errorf("no text form for %T", v)
	}
}

func bindList[T any](list []T, text func(T) string) string {
	var b strings.Builder
	b.WriteByte('[')
	for i, v := range list {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(text(v))
	}
	b.WriteByte(']')
	return b.String()
}

// addr16 is an address as the IPv6 columns hold it: IPv4 mapped, "::" for none.
func addr16(a netip.Addr) string {
	if !a.IsValid() {
		return "::"
	}
	return netip.AddrFrom16(a.As16()).String()
}
