package join

import (
	"bytes"
	"errors"
	"io"
	"unicode/utf8"

	"github.com/go-faster/jx"
)

// ErrNotEvent is returned for bytes that are no OCSF event: not one JSON object in valid UTF-8, or one without class_uid.
var ErrNotEvent = errors.New("not an OCSF event")

// maxAccess bounds how many members of an access list are looked at.
const maxAccess = 64

// place is an object or array of the event to which members may be added.
type place struct {
	found bool
	end   int  // offset of the closing brace or bracket
	empty bool // nothing is in it yet
}

// literal is a JSON string of the event: as it is written, quotes included, and what it says. The text aliases the event, or memory
// of its own where it has escapes.
type literal struct{ raw, text []byte }

// person is a user object of the event.
type person struct {
	place
	path                     string // of the object, such as actor.user
	name, email, domain, uid literal
	has                      struct{ uid, displayName, account, ldap, groups bool }
}

// endpoint is the event's src_endpoint.
type endpoint struct {
	place
	ip  literal
	has struct{ location, operator, isp, kind bool }
}

// view is what the joins need of an event, and where in its bytes they may add.
type view struct {
	event       []byte
	whole       place
	enrichments place
	class       bool    // class_uid is there
	tenant      literal // metadata.tenant_uid
	actor       person  // actor.user
	target      person  // user
	entity      person  // entity.user
	appUID      literal // actor.app_uid
	source      endpoint
	agent       literal // http_request.user_agent
	file        literal // file.url.url_string, or file.path
	filePath    string  // which of the two
	access      []literal
}

// scanner reads views. Its decoders are reused, one for each level of nesting that is looked into.
type scanner struct {
	levels [4]jx.Decoder
	view   view
}

// scan reads an event in one pass, which also checks that it is valid JSON. Of a repeated member the last one counts.
func (s *scanner) scan(event []byte) (*view, error) {
	v := &s.view
	*v = view{event: event, access: v.access[:0]}
	v.actor.path, v.target.path, v.entity.path = "actor.user", "user", "entity.user"
	if !utf8.Valid(event) {
		return nil, ErrNotEvent
	}
	d := &s.levels[0]
	d.ResetBytes(event)
	if d.Next() != jx.Object {
		return nil, ErrNotEvent
	}
	if err := d.ObjBytes(s.member); err != nil || !v.class {
		return nil, ErrNotEvent
	}
	// Skip answers io.EOF itself, unwrapped, only where nothing but white space is left.
	if err := d.Skip(); !errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, ErrNotEvent
	}
	end := len(event) - 1
	for event[end] != '}' {
		end-- // white space behind the object
	}
	v.whole = place{found: true, end: end}
	return v, nil
}

func (s *scanner) member(d *jx.Decoder, key []byte) error {
	v := &s.view
	switch string(key) {
	case "class_uid":
		v.class = d.Next() == jx.Number
	case "metadata":
		v.tenant = literal{}
		return s.object(1, d, nil, func(d *jx.Decoder, key []byte) error {
			if string(key) == "tenant_uid" {
				return text(d, &v.tenant)
			}
			return d.Skip()
		})
	case "actor":
		v.actor, v.appUID = person{path: v.actor.path}, literal{}
		return s.object(1, d, nil, s.actorMember)
	case "user":
		return s.person(1, d, &v.target)
	case "entity":
		v.entity = person{path: v.entity.path}
		return s.object(1, d, nil, func(d *jx.Decoder, key []byte) error {
			if string(key) == "user" {
				return s.person(2, d, &v.entity)
			}
			return d.Skip()
		})
	case "src_endpoint":
		v.source = endpoint{}
		return s.object(1, d, &v.source.place, s.endpointMember)
	case "http_request":
		v.agent = literal{}
		return s.object(1, d, nil, func(d *jx.Decoder, key []byte) error {
			if string(key) == "user_agent" {
				return text(d, &v.agent)
			}
			return d.Skip()
		})
	case "file":
		v.file, v.filePath = literal{}, ""
		return s.object(1, d, nil, s.fileMember)
	case "access_list":
		return s.accessList(d)
	case "enrichments":
		return s.array(d, &v.enrichments)
	}
	return d.Skip()
}

func (s *scanner) actorMember(d *jx.Decoder, key []byte) error {
	switch string(key) {
	case "user":
		return s.person(2, d, &s.view.actor)
	case "app_uid":
		return text(d, &s.view.appUID)
	}
	return d.Skip()
}

func (s *scanner) endpointMember(d *jx.Decoder, key []byte) error {
	e := &s.view.source
	switch string(key) {
	case "ip":
		return text(d, &e.ip)
	case "location":
		e.has.location = true
	case "autonomous_system":
		e.has.operator = true
	case "isp":
		e.has.isp = true
	case "type_id", "type":
		e.has.kind = true
	}
	return d.Skip()
}

func (s *scanner) fileMember(d *jx.Decoder, key []byte) error {
	v := &s.view
	switch string(key) {
	case "path":
		if v.filePath != "file.url.url_string" {
			v.filePath = "file.path"
			return text(d, &v.file)
		}
	case "url":
		return s.object(2, d, nil, func(d *jx.Decoder, key []byte) error {
			if string(key) == "url_string" {
				v.filePath = "file.url.url_string"
				return text(d, &v.file)
			}
			return d.Skip()
		})
	}
	return d.Skip()
}

func (s *scanner) person(level int, d *jx.Decoder, p *person) error {
	*p = person{path: p.path}
	return s.object(level, d, &p.place, func(d *jx.Decoder, key []byte) error {
		switch string(key) {
		case "name":
			return text(d, &p.name)
		case "email_addr":
			return text(d, &p.email)
		case "domain":
			return text(d, &p.domain)
		case "uid":
			p.has.uid = true
			return text(d, &p.uid)
		case "display_name":
			p.has.displayName = true
		case "account":
			p.has.account = true
		case "ldap_person":
			p.has.ldap = true
		case "groups":
			p.has.groups = true
		}
		return d.Skip()
	})
}

// object reads the members of an object and notes where it ends; anything but an object is skipped.
func (s *scanner) object(level int, d *jx.Decoder, at *place, member func(*jx.Decoder, []byte) error) error {
	if d.Next() != jx.Object {
		return d.Skip()
	}
	raw, err := d.Raw()
	if err != nil {
		return err
	}
	inner := &s.levels[level]
	inner.ResetBytes(raw)
	empty := true
	err = inner.ObjBytes(func(d *jx.Decoder, key []byte) error {
		empty = false
		return member(d, key)
	})
	if at != nil {
		*at = place{found: true, end: offset(s.view.event, raw) + len(raw) - 1, empty: empty}
	}
	return err
}

func (s *scanner) array(d *jx.Decoder, at *place) error {
	*at = place{}
	if d.Next() != jx.Array {
		// Nothing can be added to it, and a second member of that name would hide it.
		at.found, at.end = true, -1
		return d.Skip()
	}
	raw, err := d.Raw()
	if err != nil {
		return err
	}
	inner := &s.levels[1]
	inner.ResetBytes(raw)
	empty := true
	err = inner.Arr(func(d *jx.Decoder) error {
		empty = false
		return d.Skip()
	})
	*at = place{found: true, end: offset(s.view.event, raw) + len(raw) - 1, empty: empty}
	return err
}

func (s *scanner) accessList(d *jx.Decoder) error {
	v := &s.view
	v.access = v.access[:0]
	if d.Next() != jx.Array {
		return d.Skip()
	}
	return d.Arr(func(d *jx.Decoder) error {
		if len(v.access) == maxAccess {
			return d.Skip()
		}
		var name literal
		err := text(d, &name)
		v.access = append(v.access, name)
		return err
	})
}

// text reads a string; anything else is skipped and leaves nothing.
func text(d *jx.Decoder, into *literal) error {
	*into = literal{}
	if d.Next() != jx.String {
		return d.Skip()
	}
	raw, err := d.Raw()
	if err != nil {
		return err
	}
	*into = literal{raw: raw, text: raw[1 : len(raw)-1]}
	if bytes.IndexByte(raw, '\\') >= 0 {
		into.text, err = jx.DecodeBytes(raw).StrBytes()
	}
	return err
}

// offset is where part, a slice that the decoder cut from whole, begins. Both end at the same byte of memory.
func offset(whole, part []byte) int { return cap(whole) - cap(part) }
