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

// place is where something can be added to an object or array of the event.
type place struct {
	found bool
	at    int  // offset behind which the event goes on after the addition; negative = it must not be added to
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

// scanner reads views.
type scanner struct {
	decoder jx.Decoder
	view    view
}

// scan reads an event in one pass, which also checks that it is valid JSON. Of a repeated member the last one counts.
func (s *scanner) scan(event []byte) (*view, error) {
	v := &s.view
	*v = view{event: event, access: v.access[:0]}
	v.actor.path, v.target.path, v.entity.path = "actor.user", "user", "entity.user"
	if !utf8.Valid(event) {
		return nil, ErrNotEvent
	}
	d := &s.decoder
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
	v.whole = place{found: true, at: end}
	return v, nil
}

func (s *scanner) member(d *jx.Decoder, key []byte) error {
	v := &s.view
	switch string(key) {
	case "class_uid":
		v.class = d.Next() == jx.Number
	case "metadata":
		v.tenant = literal{}
		return object(d, s.metadataMember)
	case "actor":
		v.actor, v.appUID = person{path: v.actor.path}, literal{}
		return object(d, s.actorMember)
	case "user":
		return s.person(d, &v.target)
	case "entity":
		v.entity = person{path: v.entity.path}
		return object(d, s.entityMember)
	case "src_endpoint":
		v.source = endpoint{}
		return object(d, s.endpointMember)
	case "http_request":
		v.agent = literal{}
		return object(d, s.requestMember)
	case "file":
		v.file, v.filePath = literal{}, ""
		return object(d, s.fileMember)
	case "access_list":
		return s.accessList(d)
	case "enrichments":
		return s.list(d, &v.enrichments)
	}
	return d.Skip()
}

func (s *scanner) metadataMember(d *jx.Decoder, key []byte) error {
	if string(key) == "tenant_uid" {
		return text(d, &s.view.tenant)
	}
	return d.Skip()
}

func (s *scanner) actorMember(d *jx.Decoder, key []byte) error {
	switch string(key) {
	case "user":
		return s.person(d, &s.view.actor)
	case "app_uid":
		return text(d, &s.view.appUID)
	}
	return d.Skip()
}

func (s *scanner) entityMember(d *jx.Decoder, key []byte) error {
	if string(key) == "user" {
		return s.person(d, &s.view.entity)
	}
	return d.Skip()
}

func (s *scanner) requestMember(d *jx.Decoder, key []byte) error {
	if string(key) == "user_agent" {
		return text(d, &s.view.agent)
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
		return object(d, s.urlMember)
	}
	return d.Skip()
}

func (s *scanner) urlMember(d *jx.Decoder, key []byte) error {
	if string(key) == "url_string" {
		s.view.filePath = "file.url.url_string"
		return text(d, &s.view.file)
	}
	return d.Skip()
}

func (s *scanner) endpointMember(d *jx.Decoder, key []byte) error {
	e := &s.view.source
	raw, err := s.behind(d, &e.place)
	if err != nil {
		return err
	}
	switch string(key) {
	case "ip":
		e.ip, err = literalOf(raw)
	case "location":
		e.has.location = true
	case "autonomous_system":
		e.has.operator = true
	case "isp":
		e.has.isp = true
	case "type_id", "type":
		e.has.kind = true
	}
	return err
}

func (s *scanner) person(d *jx.Decoder, p *person) error {
	*p = person{path: p.path}
	return object(d, func(d *jx.Decoder, key []byte) error {
		raw, err := s.behind(d, &p.place)
		if err != nil {
			return err
		}
		switch string(key) {
		case "name":
			p.name, err = literalOf(raw)
		case "email_addr":
			p.email, err = literalOf(raw)
		case "domain":
			p.domain, err = literalOf(raw)
		case "uid":
			p.has.uid = true
			p.uid, err = literalOf(raw)
		case "display_name":
			p.has.displayName = true
		case "account":
			p.has.account = true
		case "ldap_person":
			p.has.ldap = true
		case "groups":
			p.has.groups = true
		}
		return err
	})
}

// behind reads a member's value as it is written; the place is now behind it.
func (s *scanner) behind(d *jx.Decoder, at *place) (jx.Raw, error) {
	raw, err := d.Raw()
	if err == nil {
		*at = place{found: true, at: offset(s.view.event, raw) + len(raw)}
	}
	return raw, err
}

// object reads the members of an object; anything but an object is skipped.
func object(d *jx.Decoder, member func(*jx.Decoder, []byte) error) error {
	if d.Next() != jx.Object {
		return d.Skip()
	}
	return d.ObjBytes(member)
}

// list notes where something can be added to an array. Nothing can be added to anything else, and a second member of that name would
// hide it.
func (s *scanner) list(d *jx.Decoder, at *place) error {
	kind := d.Next()
	raw, err := d.Raw()
	if err != nil {
		return err
	}
	*at = place{found: true, at: -1}
	if kind == jx.Array {
		at.at = offset(s.view.event, raw) + len(raw) - 1
		at.empty = len(bytes.TrimSpace(raw[1:len(raw)-1])) == 0
	}
	return nil
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
	raw, err := d.Raw()
	if err != nil {
		return err
	}
	*into, err = literalOf(raw)
	return err
}

// literalOf takes a JSON value as a string; anything else is none.
func literalOf(raw jx.Raw) (literal, error) {
	if raw[0] != '"' {
		return literal{}, nil
	}
	l := literal{raw: raw, text: raw[1 : len(raw)-1]}
	if bytes.IndexByte(raw, '\\') < 0 {
		return l, nil
	}
	var err error
	l.text, err = jx.DecodeBytes(raw).StrBytes()
	return l, err
}

// offset is where part, a slice that the decoder cut from whole, begins. Both end at the same byte of memory.
func offset(whole, part []byte) int { return cap(whole) - cap(part) }
