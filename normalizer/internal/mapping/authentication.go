package mapping

import (
	"strings"

	"millrace/pkg/audit"
	"millrace/pkg/ocsf"
)

// authentication fills class 3002.
func (w *worker) authentication() {
	e, r := &w.ev, &w.record
	if e.User = e.Actor.User; e.User.Name == "" && e.User.UID == "" {
		e.User = named(w.operationText())
	}
	e.Service = ocsf.Service{UID: e.Actor.AppUID, Name: e.Actor.AppName}
	if object := r.take(fObjectID); audit.IsGUID(object) {
		e.DstEndpoint.UID = object
	} else {
		e.DstEndpoint.SvcName = object
	}
	if e.Service.UID == "" && e.Service.Name == "" {
		e.Service.Name = w.service()
	}
	e.Session = e.Actor.Session
	e.IsRemote = ocsf.True
	switch kind := strings.ToLower(r.pairText(fExtendedProperties, "RequestType")); {
	case strings.HasPrefix(kind, "oauth2"):
		e.AuthProtocolID = ocsf.Value(ocsf.AuthProtocolOAuth20)
	case strings.HasPrefix(kind, "saml"):
		e.AuthProtocolID = ocsf.Value(ocsf.AuthProtocolSAML)
	}
}

// accountChange fills class 3001.
func (w *worker) accountChange() {
	if strings.EqualFold(w.op, "Update user") {
		w.updatedUser()
	}
	if t := w.target(); t.some() {
		w.ev.User = t.user()
		w.wrote(t)
		return
	}
	w.ev.User = w.anyone()
}

// updatedUser tells from the changed properties whether an update, for which the class has no activity, was one of those that it has: an account
// that was blocked or unblocked, the first authentication factor or the removal of the last one.
func (w *worker) updatedUser() {
	r := &w.record
	if _, now, changed := r.change("AccountEnabled"); changed {
		switch {
		case strings.Contains(now, "true"):
			w.ev.Activity = ocsf.Value(ocsf.AccountChangeEnable)
			return
		case strings.Contains(now, "false"):
			w.ev.Activity = ocsf.Value(ocsf.AccountChangeDisable)
			return
		}
	}
	before, now, changed := r.change("StrongAuthenticationMethod")
	switch {
	case changed && before == "" && now != "":
		w.ev.Activity = ocsf.Value(ocsf.AccountChangeMFAFactorEnable)
	case changed && before != "" && now == "":
		w.ev.Activity = ocsf.Value(ocsf.AccountChangeMFAFactorDisable)
	}
}
