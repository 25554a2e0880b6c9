package audit

import (
	"errors"
	"strings"
	"time"
)

var errTime = errors.New("not a time of the form 2006-01-02T15:04:05")

// ParseTime reads a record's CreationTime: UTC, usually without zone and without fraction, though exports bring both. A zone
// offset is honoured.
func ParseTime(s string) (time.Time, error) {
	s = strings.TrimSpace(s)
	if len(s) > 64 {
		return time.Time{}, errTime
	}
	for _, layout := range [...]string{"2006-01-02T15:04:05", time.RFC3339, "2006-01-02 15:04:05"} {
		if t, err := time.Parse(layout, s); err == nil && t.Year() >= 1970 {
			return t.UTC(), nil
		}
	}
	return time.Time{}, errTime
}
