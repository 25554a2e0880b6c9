package m365sim

import (
	"fmt"
	"net/http"
)

// feedError is an answer of the Management Activity API that is not a success.
type feedError struct {
	status  int
	code    string
	message string
}

func (e *feedError) Error() string { return e.code + ": " + e.message }

func newFeedError(status int, code, format string, args ...any) *feedError {
	return &feedError{status: status, code: code, message: fmt.Sprintf(format, args...)}
}

// The errors of the Management Activity API reference, "Errors", with the statuses seen in the field.
func errPermission(have, want string) *feedError {
	return newFeedError(http.StatusForbidden, "AF10001", "The permission set (%s) sent in the request did not include the expected permission %s.", have, want)
}

func errMissing(name string) *feedError {
	return newFeedError(http.StatusBadRequest, "AF20001", "Missing parameter: %s.", name)
}

func errType(name, want string) *feedError {
	return newFeedError(http.StatusBadRequest, "AF20002", "Invalid parameter type: %s. Expected type: %s.", name, want)
}

func errPast(at string) *feedError {
	return newFeedError(http.StatusBadRequest, "AF20003", "Expiration %s provided is set to past date and time.", at)
}

func errTenantMismatch(url, token string) *feedError {
	return newFeedError(http.StatusUnauthorized, "AF20010", "The tenant ID passed in the URL (%s) does not match the tenant ID passed in the access token (%s).", url, token)
}

func errTenantUnknown(id string) *feedError {
	return newFeedError(http.StatusBadRequest, "AF20011", "Specified tenant ID (%s) does not exist in the system or has been deleted.", id)
}

func errTenantMisconfigured(id string) *feedError {
	return newFeedError(http.StatusBadRequest, "AF20012", "Specified tenant ID (%s) is incorrectly configured in the system.", id)
}

func errTenantNotGUID(id string) *feedError {
	return newFeedError(http.StatusBadRequest, "AF20013", "The tenant ID passed in the URL (%s) is not a valid GUID.", id)
}

func errContentType() *feedError {
	return newFeedError(http.StatusBadRequest, "AF20020", "The specified content type is not valid.")
}

func errWebhook(address, reason string) *feedError {
	return newFeedError(http.StatusBadRequest, "AF20021", "The webhook endpoint (%s) could not be validated. %s", address, reason)
}

func errNoSubscription() *feedError {
	return newFeedError(http.StatusBadRequest, "AF20022", "No subscription found for the specified content type.")
}

func errDisabled() *feedError {
	return newFeedError(http.StatusBadRequest, "AF20023", "The subscription was disabled.")
}

func errAlreadyEnabled() *feedError {
	return newFeedError(http.StatusBadRequest, "AF20024", "The subscription is already enabled. No property change.")
}

func errWindow() *feedError {
	return newFeedError(http.StatusBadRequest, "AF20055", "Start time and end time must both be specified (or both omitted) and must be less than or equal to 24 hours apart, with the start time prior to end time and start time no more than 7 days in the past.")
}

func errOldWindow() *feedError {
	return newFeedError(http.StatusBadRequest, "AF20030", "Start time and end time must both be specified (or both omitted) and must be less than or equal to 24 hours apart, with the start time no more than 7 days in the past.")
}

func errNextPage(marker string) *feedError {
	return newFeedError(http.StatusBadRequest, "AF20031", "Invalid nextPage Input: %s.", marker)
}

func errNoContent(id string) *feedError {
	return newFeedError(http.StatusNotFound, "AF20050", "The specified content (%s) does not exist.", id)
}

func errExpired(id string) *feedError {
	return newFeedError(http.StatusGone, "AF20051", "Content requested with the key %s has already expired. Content older than 7 days cannot be retrieved.", id)
}

func errContentID(id string) *feedError {
	return newFeedError(http.StatusBadRequest, "AF20052", "Content ID %s in the URL is invalid.", id)
}

func errLanguages() *feedError {
	return newFeedError(http.StatusBadRequest, "AF20053", "Only one language may be present in the Accept-Language header.")
}

func errLanguageSyntax() *feedError {
	return newFeedError(http.StatusBadRequest, "AF20054", "Invalid syntax in Accept-Language header.")
}

func errThrottled(status int, method, publisher string) *feedError {
	return newFeedError(status, "AF429", "Too many requests. Method=%s, PublisherId=%s", method, publisher)
}

func errInternal() *feedError {
	return newFeedError(http.StatusInternalServerError, "AF50000", "An internal server error occurred. Retry the request.")
}

func errAuditingOff(id string) *feedError {
	return newFeedError(http.StatusInternalServerError, "AF50000", "Microsoft.Office.Compliance.Audit.DataServiceException: Tenant %s does not exist.", id)
}

// signInError is an answer of the token endpoint that is not a token.
type signInError struct {
	status int
	kind   string // the OAuth error
	code   int    // the AADSTS number
	text   string
}

func (e *signInError) Error() string { return fmt.Sprintf("AADSTS%d: %s", e.code, e.text) }

func newSignInError(status int, kind string, code int, format string, args ...any) *signInError {
	return &signInError{status: status, kind: kind, code: code, text: fmt.Sprintf(format, args...)}
}
