package mapping

import "bytes"

// cursor walks over one object or list of JSON that is known to be valid.
type cursor struct {
	raw   []byte
	at    int
	name  []byte // of a member, as written, with its quotes
	key   []byte // the same between its quotes
	value []byte
	open  bool
}

// element moves to the next element of a list.
func (c *cursor) element() bool {
	if !c.start('[', ']') {
		return false
	}
	c.take()
	return true
}

// member moves to the next member of an object.
func (c *cursor) member() bool {
	if !c.start('{', '}') {
		return false
	}
	end := skipString(c.raw, c.at)
	c.name, c.key = c.raw[c.at:end], c.raw[c.at+1:end-1]
	c.at = skipSpace(c.raw, end) + 1 // the colon
	c.at = skipSpace(c.raw, c.at)
	c.take()
	return true
}

// start moves behind the opening bracket or the comma; false at the end, or where raw is no such value.
func (c *cursor) start(opening, closing byte) bool {
	if !c.open {
		c.at = skipSpace(c.raw, 0)
		if c.at >= len(c.raw) || c.raw[c.at] != opening {
			return false
		}
		c.open = true
		c.at = skipSpace(c.raw, c.at+1)
		return c.at < len(c.raw) && c.raw[c.at] != closing
	}
	c.at = skipSpace(c.raw, c.at)
	if c.at >= len(c.raw) || c.raw[c.at] != ',' {
		return false
	}
	c.at = skipSpace(c.raw, c.at+1)
	return c.at < len(c.raw)
}

func (c *cursor) take() {
	end := skipValue(c.raw, c.at)
	c.value = c.raw[c.at:end]
	c.at = end
}

func skipSpace(raw []byte, i int) int {
	for i < len(raw) && (raw[i] == ' ' || raw[i] == '\n' || raw[i] == '\t' || raw[i] == '\r') {
		i++
	}
	return i
}

// skipString is the place behind the string that begins at i.
func skipString(raw []byte, i int) int {
	for i++; ; {
		n := bytes.IndexByte(raw[i:], '"')
		if n < 0 {
			return len(raw)
		}
		i += n + 1
		back := i - 2
		for raw[back] == '\\' {
			back--
		}
		if (i-2-back)%2 == 0 {
			return i
		}
	}
}

// skipValue is the place behind the value that begins at i.
func skipValue(raw []byte, i int) int {
	if raw[i] == '"' {
		return skipString(raw, i)
	}
	if raw[i] != '{' && raw[i] != '[' {
		for i < len(raw) {
			switch raw[i] {
			case ',', '}', ']', ' ', '\n', '\t', '\r':
				return i
			}
			i++
		}
		return i
	}
	for depth := 0; i < len(raw); {
		switch raw[i] {
		case '"':
			i = skipString(raw, i)
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
		i++
	}
	return i
}
