package m365

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Class says what a caller should do about an APIError.
type Class int

// The classes of error.
const (
	ClassTransient  Class = iota // try again later with back-off
	ClassThrottled               // slow the whole tenant down, then try again
	ClassAuth                    // the token was refused twice
	ClassPermission              // a role is missing: stop this content type, look again hourly
	ClassTenant                  // stop the tenant and tell the operator
	ClassAuditOff                // audit logging is off or not effective yet: tell the operator, look again hourly
	ClassNotStarted              // no subscription: start it
	ClassDisabled                // the subscription was disabled: start it once
	ClassAlreadyOn               // nothing to do, this is success
	ClassWindow                  // the window broke a rule: clamp it, check the clock
	ClassPage                    // the page marker is stale: list the window again from its first page
	ClassLost                    // this content cannot be had: record the loss and go on
	ClassConfig                  // configuration or a bug of ours: never retry unchanged
)

var classNames = [...]string{
	"transient", "throttled", "auth", "permission", "tenant", "audit_off", "not_started", "disabled", "already_on", "window", "page",
	"lost", "config",
}

// String is the label of the class in metrics and logs.
func (c Class) String() string {
	if c < 0 || int(c) >= len(classNames) {
		return "unknown"
	}
	return classNames[c]
}

// reaction is one row of the table of errors: Management Activity API reference, Errors, and what the field adds to it.
type reaction struct {
	code   string
	class  Class
	remedy string
}

var reactions = [...]reaction{
	{"AF10001", ClassPermission, "add the application permission ActivityFeed.Read (for DLP.All also ActivityFeed.ReadDlp) of Office 365 Management APIs and grant admin consent"},
	{"AF20001", ClassConfig, "a parameter was missing: report this as a bug"},
	{"AF20002", ClassConfig, "a parameter had the wrong type: check publisher_id, otherwise report this as a bug"},
	{"AF20003", ClassConfig, "the webhook's expiration lies in the past: set a later one or none"},
	{"AF20010", ClassTenant, "the tenant of the token is not the tenant in the address: check tenant id and app registration"},
	{"AF20011", ClassTenant, "the tenant does not exist or was deleted: check the tenant id"},
	{"AF20012", ClassTenant, "assign at least one Microsoft 365 licence in the tenant"},
	{"AF20013", ClassTenant, "the tenant id must be the directory GUID, not a domain name"},
	{"AF20020", ClassConfig, "the content type does not exist: correct content_types"},
	{"AF20021", ClassConfig, "the webhook did not answer its validation with HTTP 200 over https: check its address; polling goes on without it"},
	{"AF20022", ClassNotStarted, "the subscription is being started"},
	{"AF20023", ClassDisabled, "the subscription was disabled: turn unified audit logging on (up to 60 minutes to take effect); it is started again once"},
	{"AF20024", ClassAlreadyOn, "none: the subscription is already on"},
	{"AF20030", ClassWindow, "the window broke a rule: check this machine's clock"},
	{"AF20055", ClassWindow, "the window broke a rule: check this machine's clock"},
	{"AF20031", ClassPage, "none: the window is listed again from its first page"},
	{"AF20050", ClassLost, "none: the content does not exist any more"},
	{"AF20051", ClassLost, "none: the content expired before it was fetched"},
	{"AF20052", ClassLost, "the content id was refused as invalid: report this as a bug"},
	{"AF20053", ClassConfig, "exactly one language may be asked for"},
	{"AF20054", ClassConfig, "the language is not well-formed"},
	{"AF429", ClassThrottled, "none: requests slow down; ask Microsoft for a higher quota if this lasts"},
	{"AF50000", ClassTransient, "none: an internal error of the service, tried again"},
	{"AF50005", ClassTransient, "none: an internal error of the service, tried again"},
	{"AF50006", ClassTransient, "none: an internal error of the service, tried again"},
}

const remedyAuditOff = "turn unified audit logging on (Set-AdminAuditLogConfig -UnifiedAuditLogIngestionEnabled $true); up to 60 minutes to take effect"

// APIError is an answer of the service that is no success.
type APIError struct {
	Op         string // the operation, for example "list content"
	Status     int
	Code       string // the service's code, for example AF20012; "" when the body had none
	Message    string // the service's text, bounded and free of control characters
	RetryAfter time.Duration
	Class      Class
	Remedy     string // what an operator can do about it, in plain words
}

// Error implements error.
func (e *APIError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: status %d", e.Op, e.Status)
	if e.Code != "" {
		b.WriteString(" " + e.Code)
	}
	if e.Message != "" {
		b.WriteString(": " + e.Message)
	}
	return b.String()
}

// ErrForeignLink is wrapped by the error for a link of the server that leads away from the configured host. It was not followed.
var ErrForeignLink = errors.New("link leads away from the configured host")

// ErrTooLarge is wrapped by the error for an answer that is larger than its bound.
var ErrTooLarge = errors.New("answer is larger than its bound")

// ErrBadAnswer is wrapped by the error for an answer that is not what the operation promises.
var ErrBadAnswer = errors.New("answer is not understood")

// errCut is wrapped by the error for a body that broke off.
var errCut = errors.New("answer was cut short")

// ClassOf gives the class of any error that a call returned: an APIError's own, otherwise ClassTransient (the connection failed, the
// body was cut).
func ClassOf(err error) Class {
	if api, ok := errors.AsType[*APIError](err); ok {
		return api.Class
	}
	if errors.Is(err, ErrForeignLink) {
		return ClassConfig
	}
	return ClassTransient
}

// RemedyOf is the operator's remedy for any error that a call returned.
func RemedyOf(err error) string {
	if api, ok := errors.AsType[*APIError](err); ok {
		return api.Remedy
	}
	switch {
	case errors.Is(err, ErrForeignLink):
		return "the service named a host that is not configured: check the cloud of the tenant; the token was not sent there"
	case errors.Is(err, ErrTooLarge):
		return "raise max_blob if the service really serves blobs of this size"
	}
	return "check the network between this machine and the service; it is tried again"
}

// newAPIError reads what a failed answer says. The body may be JSON, HTML or nothing.
func newAPIError(op string, status int, header http.Header, body []byte, now time.Time) *APIError {
	e := &APIError{Op: op, Status: status, RetryAfter: retryAfter(header, now)}
	var envelope struct {
		Error struct{ Code, Message string } `json:"error"`
	}
	if json.Unmarshal(body, &envelope) == nil {
		e.Code, e.Message = clean(hide(envelope.Error.Code), 64), clean(hide(envelope.Error.Message), 300)
	}
	e.Class, e.Remedy = classify(status, e.Code, string(body))
	return e
}

func classify(status int, code, body string) (Class, string) {
	if strings.Contains(body, "DataServiceException") {
		return ClassAuditOff, remedyAuditOff
	}
	for _, r := range reactions {
		if strings.EqualFold(r.code, code) {
			return r.class, r.remedy
		}
	}
	switch {
	case status == http.StatusTooManyRequests:
		return ClassThrottled, "none: requests slow down"
	case status == http.StatusUnauthorized:
		return ClassAuth, "the token was refused: check client id, credential and tenant of the app registration"
	case status == http.StatusForbidden:
		return ClassPermission, "the application lacks a permission: check its API permissions and the admin consent"
	case status == http.StatusNotFound, status == http.StatusGone:
		return ClassLost, "none: it does not exist"
	case status >= 300 && status < 400:
		return ClassConfig, "the service redirects elsewhere: check the configured host; redirects are never followed"
	case status >= 500, status == http.StatusRequestTimeout:
		return ClassTransient, "none: trouble at the service, tried again"
	}
	return ClassTransient, "the service refused without saying why: it is tried again; check its health if this lasts"
}

// maxRetryAfter bounds what a hostile or confused server can make a client wait.
const maxRetryAfter = time.Hour

func retryAfter(h http.Header, now time.Time) time.Duration {
	v := strings.TrimSpace(h.Get("Retry-After"))
	if v == "" {
		return 0
	}
	if secs, err := strconv.ParseInt(v, 10, 64); err == nil {
		return time.Duration(min(max(secs, 0), int64(maxRetryAfter/time.Second))) * time.Second
	}
	if at, err := http.ParseTime(v); err == nil {
		return min(max(at.Sub(now), 0), maxRetryAfter)
	}
	return 0
}

// personal is what a text of the service may repeat of a request or a directory and no log may show: tokens, addresses of people and of
// machines.
var personal = regexp.MustCompile(`eyJ[\w.-]+|[\w.+'#-]+@[\w.-]+|\b\d{1,3}(?:\.\d{1,3}){3}\b|(?i:\b[0-9a-f]{0,4}(?::[0-9a-f]{0,4}){3,7}\b)`)

func hide(text string) string { return personal.ReplaceAllString(text, "[hidden]") }

// clean makes a foreign text safe for one line of a log: printable, bounded.
func clean(s string, limit int) string {
	if len(s) > limit {
		s = s[:limit]
	}
	return strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
}
