package mapping

import (
	"strings"

	"millrace/pkg/ocsf"
)

// emailActivity fills class 4009.
func (w *worker) emailActivity() {
	e, r := &w.ev, &w.record
	m := &e.Email
	if m.From = r.takeFirst(fSendAsUserSmtp, fSendOnBehalfOfUserSmtp, fP2Sender, fSender); m.From == "" {
		if m.From = r.part(fExchangeDetails, "From"); m.From == "" {
			m.From = r.take(fMailboxOwnerUPN)
		}
	}
	m.To = w.recipients()
	m.Subject = r.takeOr(fSubject, "Subject")
	m.MessageUID = r.takeOr(fInternetMessageID, "InternetMessageId")
	if m.UID = r.take(fNetworkMessageID); m.UID == "" {
		if m.UID = r.part(fExchangeDetails, "NetworkMessageId"); m.UID == "" {
			m.UID = r.part(fItem, "Id")
		}
	}
	if n, ok := integer(path(r.structure(fItem), "SizeInBytes")); ok {
		m.Size = ocsf.Number(n)
	}
	if m.From == "" && len(m.To) == 0 {
		if m.From = r.text(fUserID); m.From == "" {
			m.From = w.operationText()
		}
	}
	direction := r.text(fDirectionality)
	if direction == "" {
		direction = r.part(fExchangeDetails, "Directionality")
	}
	e.DirectionID = directionOf(direction)
	e.From = r.take(fP1Sender)
	if e.Activity.ID() == ocsf.EmailActivityScan {
		w.scanned()
	}
}

// takeOr takes a field, or reads the member of the same meaning in Item or ExchangeDetails.
func (r *record) takeOr(f field, name string) string {
	if s := r.take(f); s != "" {
		return s
	}
	if s := r.part(fItem, name); s != "" {
		return s
	}
	return r.part(fExchangeDetails, name)
}

func directionOf(s string) ocsf.Enum {
	switch strings.ToLower(strings.NewReplacer("-", "", " ", "", "_", "").Replace(s)) {
	case "inbound", "incoming":
		return ocsf.Value(ocsf.DirectionInbound)
	case "outbound", "outgoing":
		return ocsf.Value(ocsf.DirectionOutbound)
	case "intraorg", "internal":
		return ocsf.Value(ocsf.DirectionInternal)
	case "":
		return ocsf.Value(ocsf.DirectionUnknown)
	}
	return ocsf.OtherValue(s)
}

// recipients are the addresses that the message went to.
func (w *worker) recipients() []string {
	r := &w.record
	list := w.list[:0]
	for _, f := range [...]field{fRecipients, fReceivers, fRecipient} {
		raw := r.get(f)
		before := len(list)
		if list = r.appendTexts(list, raw); len(list) == before {
			continue
		}
		if wholeList(raw, len(list)-before) {
			r.use(f)
		}
	}
	if len(list) == 0 {
		c := cursor{raw: r.structure(fRecipientList)}
		for c.element() && len(list) < maxList {
			if s := r.textOf(find(c.value, "Address")); s != "" {
				list = append(list, s)
			}
		}
	}
	if len(list) == 0 {
		list = r.appendTexts(list, path(r.structure(fExchangeDetails), "Recipients"))
	}
	w.list = list
	return list
}

// wholeList reports whether n texts are all that a value holds.
func wholeList(raw []byte, n int) bool {
	if raw[0] != '[' {
		return true
	}
	c := cursor{raw: raw}
	for c.element() {
		n--
	}
	return n == 0
}

// scanned fills what the scan of a message decided.
func (w *worker) scanned() {
	e, r := &w.ev, &w.record
	e.Metadata.Profiles = profilesSecurity
	action := strings.ToLower(r.text(fPolicyAction))
	switch {
	case strings.Contains(action, "quarantine"):
		e.ActionID, e.DispositionID = ocsf.Value(ocsf.ActionDenied), ocsf.Value(ocsf.DispositionQuarantined)
	case strings.Contains(action, "delete"):
		e.ActionID, e.DispositionID = ocsf.Value(ocsf.ActionDenied), ocsf.Value(ocsf.DispositionDeleted)
	default:
		e.ActionID, e.DispositionID = ocsf.Value(ocsf.ActionObserved), ocsf.Value(ocsf.DispositionNoAction)
	}
	switch strings.ToLower(r.text(fVerdict)) {
	case "":
	case "none", "good", "clean", "not spam", "notspam":
		e.IsAlert = ocsf.False
	default:
		e.IsAlert = ocsf.True
	}
}
