package mapping

import (
	"strings"

	"millrace/pkg/ocsf"
)

// The statuses of all classes but the findings.
const (
	statusUnknown = ocsf.OutcomeStatusUnknown
	statusSuccess = ocsf.OutcomeStatusSuccess
	statusFailure = ocsf.OutcomeStatusFailure
)

// status fills status_id, status_code and status_detail.
func (w *worker) status() {
	e, r := &w.ev, &w.record
	e.StatusCode = r.takeFirst(fErrorNumber, fErrorCode)
	logonError := r.text(fLogonError)
	if strings.EqualFold(logonError, "None") {
		logonError = ""
	}
	if logonError != "" {
		r.use(fLogonError)
		e.StatusDetail = logonError
	} else if e.StatusDetail = r.pairText(fExtendedProperties, "ResultStatusDetail"); e.StatusDetail == "" {
		e.StatusDetail = r.takeFirst(fResultStatusDetail, fResultMessage, fFailureReason)
	}
	result := r.text(fResultStatus)
	says, known := resultStatus(result)
	switch {
	case strings.EqualFold(w.op, "UserLoggedIn"):
		e.StatusID = ocsf.Value(statusSuccess)
	case strings.EqualFold(w.op, "UserLoginFailed"):
		e.StatusID = ocsf.Value(statusFailure) // refused logons arrive with ResultStatus Success
	case w.class == ocsf.ClassAuthentication:
		e.StatusID = ocsf.Value(statusSuccess)
		if logonError != "" || (e.StatusCode != "" && e.StatusCode != "0") || says == statusFailure {
			e.StatusID = ocsf.Value(statusFailure)
		} else if result != "" && !known {
			e.StatusID = otherStatus(result)
		}
	case refused(w.op):
		e.StatusID = ocsf.Value(statusFailure)
	default:
		e.StatusID = w.plainStatus(result, says, known)
	}
	if result != "" && (known && e.StatusID == ocsf.Value(says) || e.StatusID == otherStatus(result)) {
		r.use(fResultStatus) // anything else contradicts the status and stays in unmapped
	}
}

func (w *worker) plainStatus(result string, says int, known bool) ocsf.Enum {
	switch raw := w.record.get(fIsSuccess); {
	case string(raw) == "true":
		w.record.use(fIsSuccess)
		return ocsf.Value(statusSuccess)
	case string(raw) == "false":
		w.record.use(fIsSuccess)
		return ocsf.Value(statusFailure)
	case known:
		return ocsf.Value(says)
	case result != "":
		return otherStatus(result)
	case logged(w.number):
		return ocsf.Value(statusSuccess)
	}
	return ocsf.Value(statusUnknown)
}

// otherStatus is 99 with the vendor's word, or the value whose caption the word is.
func otherStatus(result string) ocsf.Enum {
	if result == "Other" {
		return ocsf.OtherValue("other") // the caption of 99 itself says nothing
	}
	return ocsf.OtherValue(result)
}

// resultStatus reads the vendor's words for success and failure.
func resultStatus(s string) (status int, known bool) {
	for _, word := range [...]string{"Succeeded", "Success", "Successful", "True", "1"} {
		if strings.EqualFold(s, word) {
			return statusSuccess, true
		}
	}
	for _, word := range [...]string{"Failed", "Failure", "Fail", "False", "Error", "2", "3"} {
		if strings.EqualFold(s, word) {
			return statusFailure, true
		}
	}
	return statusUnknown, false
}

// refused reports whether the operation itself says that something was not done.
func refused(op string) bool {
	for _, end := range [...]string{"Blocked", "Denied", "Failure"} {
		if len(op) >= len(end) && strings.EqualFold(op[len(op)-len(end):], end) {
			return true
		}
	}
	return false
}
