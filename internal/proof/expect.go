package proof

import (
	"bytes"
	"context"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/pkg/audit"
	"millrace/pkg/wire"
)

// expect lists the copies and the distinct records. It goes over the tenant twice: only ids that occur more than once need the
// costly look at whether their contents are equal.
func (c *check) expect(ctx context.Context) error {
	count := map[hash]uint32{}
	err := c.cfg.Source(ctx, func(it Item) error {
		env, refused := refusal(it.Raw)
		if !refused {
			count[identity(it, env.ID, nil)]++
		}
		return nil
	})
	if err != nil {
		return err
	}
	distinct := map[hash]int{}
	contents := map[hash]int{}
	return c.cfg.Source(ctx, func(it Item) error {
		env, refused := refusal(it.Raw)
		name := it.ContentID + "/" + strconv.Itoa(it.Index)
		at := c.place(it.Tenant, name, it.Raw)
		if again := c.copies[at]; again != nil {
			if c.cfg.ByContent {
				again.want++
				c.records[again.record].copies++
			}
			return nil // else the source named one position twice
		}
		cp := &copyOf{name: name, want: 1, sha: hashOf(it.Raw), fresh: it.Fresh}
		c.copies[at] = cp
		id := identity(it, env.ID, nil)
		key := id
		switch {
		case refused:
			key = at
		case count[id] > 1:
			key = identity(it, env.ID, canonical(it.Raw))
		}
		n, known := distinct[key]
		if !known {
			n = len(c.records)
			distinct[key] = n
			c.records = append(c.records, record{
				id: env.ID, refused: refused, large: len(it.Raw) > wire.MaxRaw, variant: !refused && contents[id] > 0,
				workload: wire.WorkloadOf(env.RecordType, env.Workload, it.Domain, 0),
			})
			contents[id]++
		}
		c.records[n].copies++
		c.records[n].due = c.records[n].due || !it.Fresh
		cp.record = n
		return nil
	})
}

// place is the key of a copy in check.copies.
func (c *check) place(tenant, name string, raw []byte) hash {
	if c.cfg.ByContent {
		return hashOf(raw)
	}
	return hashOf([]byte(strings.ToLower(tenant) + "/" + name))
}

// copyAt returns the copy that a record of a topic is, or was made from; nil if the tenant has none.
func (c *check) copyAt(r *kgo.Record) (cp *copyOf, name string) {
	name = header(r, wire.HeaderContentID) + "/" + header(r, wire.HeaderBlobIndex)
	return c.copies[c.place(header(r, wire.HeaderTenant), name, r.Value)], name
}

// late reports whether an event belongs to a fresh record that reached raw after raw was read.
func (c *check) late(r *kgo.Record) bool {
	cp, _ := c.copyAt(r)
	return cp != nil && cp.fresh && cp.raw == 0
}

// refusal judges by the rules of the contract whether a record must end as a dead letter.
func refusal(raw []byte) (audit.Envelope, bool) {
	env, err := audit.ParseEnvelope(raw)
	if err != nil || len(raw) > wire.MaxRaw || strings.TrimSpace(env.ID) == "" {
		return env, true
	}
	_, err = audit.ParseTime(env.CreationTime)
	return env, err != nil
}

func identity(it Item, id string, content []byte) hash {
	return hashOf(bytes.Join([][]byte{[]byte(strings.ToLower(it.Tenant)), []byte(it.Domain), []byte(id), content}, []byte{0}))
}

// canonical is the content of a record with its members in order of their names. It is made by the standard library, not by the code
// that the pipeline finds repeats with.
func canonical(raw []byte) []byte {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v map[string]any
	if err := d.Decode(&v); err != nil {
		return raw
	}
	if s, ok := v["CreationTime"].(string); ok {
		v["CreationTime"] = strings.TrimSuffix(s, "Z")
	}
	out, err := json.Marshal(withoutTypes(v))
	if err != nil {
		return raw
	}
	return out
}

func withoutTypes(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name, member := range v {
			if strings.HasSuffix(name, "@odata.type") {
				delete(v, name)
				continue
			}
			v[name] = withoutTypes(member)
		}
	case []any:
		for i := range v {
			v[i] = withoutTypes(v[i])
		}
	}
	return v
}
