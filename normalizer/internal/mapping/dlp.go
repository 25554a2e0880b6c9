package mapping

import (
	"strings"

	"millrace/pkg/ocsf"
)

// dataSecurity fills class 2006. Attributes name types, counts and rules, never what was matched.
func (w *worker) dataSecurity() {
	e, r := &w.ev, &w.record
	e.Metadata.Profiles = profilesSecurity
	d := w.policies()
	f := &e.FindingInfo
	if f.UID = r.take(fIncidentID); f.UID == "" {
		f.UID = e.Metadata.OriginalEventUID
	}
	if f.Title = d.ruleName; f.Title == "" {
		if f.Title = d.policyName; f.Title == "" {
			f.Title = w.operationText()
		}
	}
	f.CreatedTime = ocsf.Number(e.Time)
	if d.ruleName != "" || d.ruleID != "" {
		f.Analytic = ocsf.Analytic{UID: d.ruleID, Name: d.ruleName, TypeID: ocsf.Value(ocsf.AnalyticTypeRule)}
	}
	e.SeverityID = d.severity
	e.DataSecurity.Policy = ocsf.Policy{UID: d.policyID, Name: d.policyName}
	e.DataSecurity.DiscoveryDetails = d.details
	w.where()
	if d.blocked {
		e.ActionID, e.DispositionID = ocsf.Value(ocsf.ActionDenied), ocsf.Value(ocsf.DispositionBlocked)
	} else {
		e.ActionID, e.DispositionID = ocsf.Value(ocsf.ActionObserved), ocsf.Value(ocsf.DispositionDetected)
	}
	e.IsAlert = ocsf.Truth(e.Activity.ID() == ocsf.DataSecurityFindingCreate)
}

// where fills what the finding is about: a file, a message, or a file on a device.
func (w *worker) where() {
	e, r := &w.ev, &w.record
	s := &e.DataSecurity
	s.DetectionSystemID = ocsf.Value(ocsf.DetectionSystemApplicationLevelDLP)
	s.DataLifecycleStateID = ocsf.Value(ocsf.DataLifecycleStateDataAtRest)
	if meta := r.structure(fEndpointMetaData); meta != nil || w.number == 63 {
		s.DetectionSystemID = ocsf.Value(ocsf.DetectionSystemEndpoint)
		w.endpointFile(meta)
	}
	if meta := r.structure(fSharePointMetaData); meta != nil {
		w.sharedFile(meta)
	}
	if meta := r.structure(fExchangeMetaData); meta != nil {
		s.DataLifecycleStateID = ocsf.Value(ocsf.DataLifecycleStateDataInTransit)
		w.person(r.textOf(find(meta, "From")))
		res := ocsf.ResourceDetails{Name: r.textOf(find(meta, "Subject")), UID: r.textOf(find(meta, "MessageID")), Type: "Email"}
		if res.Name != "" || res.UID != "" {
			e.Resources = append(e.Resources, res)
		}
	}
}

func (w *worker) sharedFile(meta []byte) {
	r := &w.record
	w.person(r.textOf(find(meta, "From")))
	if w.ev.File.Name != "" {
		return // the file on the device
	}
	f := ocsf.File{
		Name: r.textOf(find(meta, "FileName")), Path: r.textOf(find(meta, "FilePathUrl")),
		TypeID: ocsf.Value(ocsf.FileTypeRegularFile),
	}
	if f.UID = r.textOf(find(meta, "UniqueID")); f.UID == "" {
		f.UID = r.textOf(find(meta, "UniqueId"))
	}
	if f.Name == "" {
		if f.Name = lastPart(f.Path); f.Name == "" {
			return
		}
	}
	f.Owner.Name = r.textOf(find(meta, "FileOwner"))
	w.ev.File = f
}

func (w *worker) endpointFile(meta []byte) {
	e, r := &w.ev, &w.record
	object := r.take(fObjectID)
	if name := lastPart(object); name != "" {
		e.File = ocsf.File{
			Name: name, Path: object, Ext: r.textOf(find(meta, "FileExtension")), TypeID: ocsf.Value(ocsf.FileTypeRegularFile),
		}
	}
	if name := r.textOf(find(meta, "DeviceName")); name != "" && e.Device.Name == "" && e.Device.UID == "" {
		e.Device = ocsf.Device{Name: name, TypeID: ocsf.Value(0)}
	}
}

// person makes the author of the file or message the actor. The record's own user is mostly the agent that found it, and stays in
// unmapped.
func (w *worker) person(from string) {
	u := &w.ev.Actor.User
	if from == "" || u.Name == from {
		return
	}
	for _, f := range [...]field{fUserID, fUserKey, fUserType, fTokenObjectID} {
		w.record.unuse(f)
	}
	*u = ocsf.User{Name: from}
	u.EmailAddr, _ = address(from)
}

// dlp is what the policies of a record say.
type dlp struct {
	policyID, policyName string
	ruleID, ruleName     string
	severity             ocsf.Enum
	blocked              bool
	details              []ocsf.DiscoveryDetails
}

// policies reads PolicyDetails. Policy and rule are those of the gravest rule.
func (w *worker) policies() dlp {
	r := &w.record
	d := dlp{severity: ocsf.Value(ocsf.SeverityUnknown), details: w.ev.DataSecurity.DiscoveryDetails[:0]}
	policies := cursor{raw: r.structure(fPolicyDetails)}
	for policies.element() {
		policy := policies.value
		if d.policyID == "" && d.policyName == "" {
			d.policyID, d.policyName = r.textOf(find(policy, "PolicyId")), r.textOf(find(policy, "PolicyName"))
		}
		rules := cursor{raw: find(policy, "Rules")}
		for rules.element() {
			w.dlpRule(&d, policy, rules.value)
		}
	}
	return d
}

func (w *worker) dlpRule(d *dlp, policy, rule []byte) {
	r := &w.record
	severity := severityOf(r.textOf(find(rule, "Severity")))
	if first := d.ruleID == "" && d.ruleName == ""; first || severity.ID() > d.severity.ID() && severity.ID() != ocsf.Other {
		d.severity = severity
		d.ruleID, d.ruleName = r.textOf(find(rule, "RuleId")), r.textOf(find(rule, "RuleName"))
		d.policyID, d.policyName = r.textOf(find(policy, "PolicyId")), r.textOf(find(policy, "PolicyName"))
	}
	actions := cursor{raw: find(rule, "Actions")}
	for actions.element() {
		if strings.Contains(strings.ToLower(r.textOf(actions.value)), "block") {
			d.blocked = true
		}
	}
	found := cursor{raw: path(rule, "ConditionsMatched", "SensitiveInformation")}
	for found.element() && len(d.details) < maxList {
		info := ocsf.DiscoveryDetails{
			Type:  r.textOf(find(found.value, "SensitiveInformationTypeName")),
			Value: r.textOf(find(found.value, "SensitiveType")),
		}
		if n, ok := integer(find(found.value, "Count")); ok {
			info.Count = ocsf.Number(n)
		}
		if info.Type != "" || info.Value != "" {
			d.details = append(d.details, info)
		}
	}
}

// severityOf reads the vendor's word for the severity of a finding.
func severityOf(s string) ocsf.Enum {
	switch strings.ToLower(s) {
	case "":
		return ocsf.Value(ocsf.SeverityUnknown)
	case "informational", "info", "none":
		return ocsf.Value(ocsf.SeverityInformational)
	case "low":
		return ocsf.Value(ocsf.SeverityLow)
	case "medium":
		return ocsf.Value(ocsf.SeverityMedium)
	case "high":
		return ocsf.Value(ocsf.SeverityHigh)
	case "critical":
		return ocsf.Value(ocsf.SeverityCritical)
	}
	return ocsf.OtherValue(s)
}
