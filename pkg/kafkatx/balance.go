package kafkatx

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
)

// claim is what a member says when it joins: the numbers that it owns, and since which generation of the group.
type claim struct {
	member     string
	generation int32
	owned      []int32
}

// assign distributes the numbers 0 to count-1 evenly over the members, leaving with each member as many of its own as its share allows.
// Where two claim the same number, the one of the later generation has it.
func assign(claims []claim, count int) map[string][]int32 {
	claims = slices.Clone(claims)
	slices.SortFunc(claims, func(a, b claim) int {
		return cmp.Or(-cmp.Compare(a.generation, b.generation), cmp.Compare(a.member, b.member))
	})
	taken := make([]bool, max(count, 0))
	kept := make(map[string][]int32, len(claims))
	for _, c := range claims {
		kept[c.member] = nil
		for _, n := range c.owned {
			if n >= 0 && int(n) < count && !taken[n] {
				taken[n] = true
				kept[c.member] = append(kept[c.member], n)
			}
		}
	}
	if len(claims) == 0 {
		return kept
	}
	// The larger shares go to those who own most, so that nothing moves without need.
	slices.SortStableFunc(claims, func(a, b claim) int { return -cmp.Compare(len(kept[a.member]), len(kept[b.member])) })
	share := func(i int) int {
		if i < count%len(claims) {
			return count/len(claims) + 1
		}
		return count / len(claims)
	}
	for i, c := range claims {
		slices.Sort(kept[c.member])
		for _, n := range kept[c.member][min(share(i), len(kept[c.member])):] {
			taken[n] = false
		}
		kept[c.member] = kept[c.member][:min(share(i), len(kept[c.member]))]
	}
	free := 0
	for i, c := range claims {
		for len(kept[c.member]) < share(i) {
			for taken[free] {
				free++
			}
			taken[free] = true
			kept[c.member] = append(kept[c.member], int32(free))
		}
		slices.Sort(kept[c.member])
	}
	return kept
}

// protocolName is the name under which members agree on how to share: two members with other topics or another state layout have none
// in common, and the group's coordinator refuses the second.
func protocolName(topics []string, layout int) string {
	return fmt.Sprintf("millrace/v%d/%s", layout, strings.Join(slices.Sorted(slices.Values(topics)), ","))
}

// encodeClaim writes a claim as the user data of a consumer subscription, the form that Kafka's tools can show.
func encodeClaim(topics []string, c claim) []byte {
	user := binary.BigEndian.AppendUint32(nil, uint32(c.generation))
	for _, n := range c.owned {
		user = binary.BigEndian.AppendUint32(user, uint32(n))
	}
	b := binary.BigEndian.AppendUint16(nil, 0) // version
	b = binary.BigEndian.AppendUint32(b, uint32(len(topics)))
	for _, t := range topics {
		b = appendString(b, t)
	}
	b = binary.BigEndian.AppendUint32(b, uint32(len(user)))
	return append(b, user...)
}

func decodeClaim(member string, b []byte) (claim, error) {
	r := reader{b: b}
	r.take(2)
	for range r.count(2) {
		r.take(int(r.uint16()))
	}
	user := reader{b: r.take(int(r.uint32()))}
	c := claim{member: member, generation: int32(user.uint32())}
	for len(user.b) >= 4 {
		c.owned = append(c.owned, int32(user.uint32()))
	}
	if r.bad || user.bad {
		return c, fmt.Errorf("member %s: malformed subscription of %d bytes", member, len(b))
	}
	return c, nil
}

// encodeAssignment writes numbers as a consumer assignment: partition n of every topic for number n.
func encodeAssignment(topics []string, numbers []int32) []byte {
	b := binary.BigEndian.AppendUint16(nil, 0) // version
	b = binary.BigEndian.AppendUint32(b, uint32(len(topics)))
	for _, t := range topics {
		b = appendString(b, t)
		b = binary.BigEndian.AppendUint32(b, uint32(len(numbers)))
		for _, n := range numbers {
			b = binary.BigEndian.AppendUint32(b, uint32(n))
		}
	}
	return binary.BigEndian.AppendUint32(b, math.MaxUint32) // no user data
}

func decodeAssignment(b []byte) ([]int32, error) {
	if len(b) == 0 {
		return nil, nil
	}
	r := reader{b: b}
	r.take(2)
	var numbers []int32
	for i := range r.count(6) {
		r.take(int(r.uint16()))
		for range r.count(4) {
			if n := int32(r.uint32()); i == 0 {
				numbers = append(numbers, n)
			}
		}
	}
	if r.bad {
		return nil, fmt.Errorf("malformed assignment of %d bytes", len(b))
	}
	return numbers, nil
}

func appendString(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
	return append(b, s...)
}

// reader reads fixed-size integers and remembers whether it ever ran out of bytes.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.bad, r.b = true, nil
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) uint16() uint16 {
	if v := r.take(2); v != nil {
		return binary.BigEndian.Uint16(v)
	}
	return 0
}

func (r *reader) uint32() uint32 {
	if v := r.take(4); v != nil {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}

// count reads the length of an array whose elements take at least size bytes.
func (r *reader) count(size int) int {
	n := int(int32(r.uint32()))
	if n < 0 || n > len(r.b)/size {
		r.bad, r.b = true, nil
		return 0
	}
	return n
}
