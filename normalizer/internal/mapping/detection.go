package mapping

import (
	"strconv"
	"strings"

	"millrace/pkg/ocsf"
)

// detection fills class 2004.
func (w *worker) detection() {
	e, r := &w.ev, &w.record
	f := &e.FindingInfo
	if f.UID = r.takeFirst(fAlertID, fInvestigationID, fRiskID); f.UID == "" {
		f.UID = e.Metadata.OriginalEventUID
	}
	if f.Title = r.take(fName); f.Title == "" {
		f.Title = w.operationText()
	}
	f.CreatedTime = ocsf.Number(e.Time)
	if category := r.take(fCategory); category != "" {
		f.Types = append(f.Types, category)
	}
	if policy := r.take(fPolicyID); policy != "" {
		f.Analytic = ocsf.Analytic{UID: policy, Name: r.text(fName), TypeID: ocsf.Value(ocsf.AnalyticTypeRule)}
	}
	severity := r.text(fSeverity)
	if severity == "" {
		severity = r.text(fRiskLevel)
	}
	e.SeverityID = severityOf(severity)
	status := r.text(fStatus)
	e.StatusID = findingStatus(status)
	if e.Activity.ID() == ocsf.DetectionFindingUpdate && isClosed(e.StatusID.ID()) {
		e.Activity = ocsf.Value(ocsf.DetectionFindingClose)
	}
	e.IsAlert = ocsf.Truth(e.Activity.ID() == ocsf.DetectionFindingCreate)
	e.Comment = r.take(fComments)
	w.evidence()
}

func isClosed(status int) bool {
	return status == ocsf.StatusSuppressed || status == ocsf.StatusResolved
}

// findingStatus reads where a finding is in its life.
func findingStatus(s string) ocsf.Enum {
	switch strings.ToLower(s) {
	case "":
		return ocsf.Value(ocsf.StatusUnknown)
	case "active", "new":
		return ocsf.Value(ocsf.StatusNew)
	case "investigating", "inprogress", "in progress", "running", "pending":
		return ocsf.Value(ocsf.StatusInProgress)
	case "dismissed", "suppressed":
		return ocsf.Value(ocsf.StatusSuppressed)
	case "resolved", "remediated", "closed":
		return ocsf.Value(ocsf.StatusResolved)
	}
	return ocsf.OtherValue(s)
}

// evidence fills what the finding is about.
func (w *worker) evidence() {
	e, r := &w.ev, &w.record
	if w.rule.resource == "File" {
		if object := r.take(fObjectID); object != "" {
			name := r.take(fSourceFileName)
			if name == "" {
				name = lastPart(object)
			}
			e.Evidences = append(e.Evidences, ocsf.Evidences{File: ocsf.File{
				Name: name, Path: object, TypeID: ocsf.Value(ocsf.FileTypeRegularFile),
			}})
			return
		}
	}
	entity := r.take(fAlertEntityID)
	if entity == "" {
		entity = r.text(fUserID)
	}
	if entity == "" {
		return
	}
	if email, _ := address(entity); email != "" {
		e.Evidences = append(e.Evidences, ocsf.Evidences{User: ocsf.User{Name: entity, EmailAddr: email}})
		return
	}
	e.Evidences = append(e.Evidences, ocsf.Evidences{User: ocsf.User{Name: entity}})
}

// integer reads a JSON number, or a string of digits.
func integer(raw []byte) (int64, bool) {
	if len(raw) > 2 && raw[0] == '"' {
		raw = raw[1 : len(raw)-1]
	}
	if len(raw) == 0 || len(raw) > 19 {
		return 0, false
	}
	n, err := strconv.ParseInt(view(raw), 10, 64)
	return n, err == nil
}
