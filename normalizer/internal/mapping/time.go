package mapping

import "time"

// layouts are the forms in which the vendor and its exports write times. Fractions of a second are understood in each.
var layouts = [...]string{"2006-01-02T15:04:05Z07:00", "2006-01-02T15:04:05", "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05"}

// parseTime reads a time; without a zone it is UTC.
func parseTime(s string) (time.Time, bool) {
	if len(s) < 19 || len(s) > 64 {
		return time.Time{}, false
	}
	if t, ok := parseUsual(s); ok {
		return t, true
	}
	for _, layout := range layouts {
		if t, err := time.Parse(layout, s); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

// parseUsual reads 2006-01-02T15:04:05 with or without Z, which is what nearly all records have, without the cost of a layout.
func parseUsual(s string) (time.Time, bool) {
	if len(s) == 20 && s[19] == 'Z' {
		s = s[:19]
	}
	if len(s) != 19 || s[4] != '-' || s[7] != '-' || s[10] != 'T' || s[13] != ':' || s[16] != ':' {
		return time.Time{}, false
	}
	var n [6]int
	for i, span := range [...][2]int{{0, 4}, {5, 7}, {8, 10}, {11, 13}, {14, 16}, {17, 19}} {
		for _, c := range []byte(s[span[0]:span[1]]) {
			if c < '0' || c > '9' {
				return time.Time{}, false
			}
			n[i] = n[i]*10 + int(c-'0')
		}
	}
	t := time.Date(n[0], time.Month(n[1]), n[2], n[3], n[4], n[5], 0, time.UTC)
	if t.Month() != time.Month(n[1]) || t.Day() != n[2] || n[3] > 23 || n[4] > 59 || n[5] > 59 {
		return time.Time{}, false // what time.Date would have carried over
	}
	return t, true
}
