package conf

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Size is a number of bytes, written as 64MiB, 1GiB, 512KiB or 1500.
type Size int64

// The units of Size.
const (
	KiB Size = 1 << 10
	MiB Size = 1 << 20
	GiB Size = 1 << 30
)

// sizeUnits is ordered: the longest suffix that fits wins.
var sizeUnits = []struct {
	suffix string
	bytes  Size
}{
	{"KiB", KiB},
	{"MiB", MiB},
	{"GiB", GiB},
	{"TiB", GiB << 10},
	{"kB", 1000},
	{"KB", 1000},
	{"MB", 1000 * 1000},
	{"GB", 1000 * 1000 * 1000},
	{"B", 1},
	{"", 1},
}

// ParseSize reads what String writes, and the decimal units kB, MB and GB.
func ParseSize(text string) (Size, error) {
	text = strings.TrimSpace(text)
	for _, unit := range sizeUnits {
		digits, found := strings.CutSuffix(text, unit.suffix)
		if !found {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
		if err != nil || n < 0 || n > math.MaxInt64/int64(unit.bytes) {
			break
		}
		return Size(n) * unit.bytes, nil
	}
	return 0, fmt.Errorf("%q is not a size: write 64MiB, 1GiB or a number of bytes", text)
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Size) UnmarshalText(text []byte) (err error) {
	*s, err = ParseSize(string(text))
	return err
}

// String is the size in the largest binary unit that is exact.
func (s Size) String() string {
	for _, unit := range sizeUnits[:3] {
		if s != 0 && s%unit.bytes == 0 && s/unit.bytes < 1024 {
			return strconv.FormatInt(int64(s/unit.bytes), 10) + unit.suffix
		}
	}
	if s != 0 && s%GiB == 0 {
		return strconv.FormatInt(int64(s/GiB), 10) + "GiB"
	}
	return strconv.FormatInt(int64(s), 10)
}

const day = 24 * time.Hour

// ParseDuration reads what a duration key takes: Go's durations and whole days ("15d").
func ParseDuration(text string) (time.Duration, error) {
	text = strings.TrimSpace(text)
	if digits, found := strings.CutSuffix(text, "d"); found {
		if n, err := strconv.ParseInt(digits, 10, 64); err == nil && n >= 0 && n <= int64(math.MaxInt64/day) {
			return time.Duration(n) * day, nil
		}
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("%q is not a duration: write 30s, 5m, 12h or 15d", text)
	}
	return d, nil
}

// formatDuration writes what ParseDuration reads, without the zero parts of Duration.String.
func formatDuration(d time.Duration) string {
	if d >= day && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
