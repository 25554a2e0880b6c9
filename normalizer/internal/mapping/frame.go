package mapping

import (
	"crypto/sha1" //nolint:gosec // RFC 9562 defines the version 5 UUID by SHA-1; nothing secret rests on it
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"

	"millrace/pkg/ocsf"
)

// namespace is the UUID namespace of metadata.uid: the version 5 UUID of https://schema.ocsf.io/m365 in the URL namespace. It
// never changes.
var namespace = uuid5([16]byte{
	0x6b, 0xa7, 0xb8, 0x11, 0x9d, 0xad, 0x11, 0xd1, 0x80, 0xb4, 0x00, 0xc0, 0x4f, 0xd4, 0x30, 0xc8,
}, []byte("https://schema.ocsf.io/m365"))

// uuid5 is a name-based UUID (RFC 9562 section 5.5).
func uuid5(space [16]byte, name []byte) [16]byte {
	return uuidOf(append(space[:], name...))
}

// uuidOf is the UUID of a namespace and a name, one behind the other.
func uuidOf(spaceAndName []byte) [16]byte {
	sum := sha1.Sum(spaceAndName) //nolint:gosec // see the import
	u := [16]byte(sum[:16])
	u[6] = u[6]&0x0f | 0x50
	u[8] = u[8]&0x3f | 0x80
	return u
}

func formatUUID(u [16]byte) string {
	var b [36]byte
	hex.Encode(b[0:8], u[0:4])
	hex.Encode(b[9:13], u[4:6])
	hex.Encode(b[14:18], u[6:8])
	hex.Encode(b[19:23], u[8:10])
	hex.Encode(b[24:36], u[10:16])
	b[8], b[13], b[18], b[23] = '-', '-', '-', '-'
	return string(b[:])
}

// eventUID is metadata.uid: the same for the same record, whenever and wherever it is mapped.
func (w *worker) eventUID(id string, index int) string {
	b := append(w.name[:0], namespace[:]...)
	b = append(b, w.rec.Tenant...)
	b = append(b, '|')
	b = append(b, w.rec.Domain...)
	b = append(b, '|')
	b = append(b, id...)
	b = append(b, '|')
	for shift := 60; shift >= 0; shift -= 4 {
		b = append(b, "0123456789abcdef"[w.digest>>shift&15])
	}
	b = append(b, '|')
	b = strconv.AppendInt(b, int64(index), 10)
	w.name = b
	return formatUUID(uuidOf(b))
}

// frame fills what every event has, whatever its class; n > 1 is a fan-out, of which this is number index.
func (w *worker) frame(id string, millis int64, index, n int) {
	e, r := &w.ev, &w.record
	e.Class, e.Activity, e.Time = w.class, w.rule.activity, millis
	w.metadata(id, index, n)
	w.cloud()
	e.API = ocsf.API{Operation: w.operationText(), Service: ocsf.Service{Name: w.service()}}
	w.request(id)
	w.actor()
	if w.class.Has(ocsf.AttrSrcEndpoint) {
		w.srcEndpoint()
	}
	if w.class.Has(ocsf.AttrHTTPRequest) {
		if e.HTTPRequest.UserAgent = r.take(fUserAgent); e.HTTPRequest.UserAgent == "" {
			if e.HTTPRequest.UserAgent = r.pairText(fExtendedProperties, "UserAgent"); e.HTTPRequest.UserAgent == "" {
				e.HTTPRequest.UserAgent = r.take(fClientInfoString)
			}
		}
	}
	if w.class.Has(ocsf.AttrDevice) {
		w.device()
	}
	if w.class != ocsf.ClassDetectionFinding && w.class != ocsf.ClassDataSecurityFinding {
		w.status()
	}
	e.Message = w.message()
	w.hash()
}

// operationText is the operation, or what stands for it in a record that has none: api.operation is required.
func (w *worker) operationText() string {
	if w.op != "" {
		return w.op
	}
	if w.rule.typeName != "" {
		return w.rule.typeName
	}
	return fallbackService
}

func (w *worker) metadata(id string, index, n int) {
	m, r := &w.ev.Metadata, &w.record
	m.Version = ocsf.Version
	m.Product = ocsf.Product{Name: "Microsoft 365", VendorName: "Microsoft", Feature: ocsf.Feature{Name: w.service()}}
	m.Profiles = profilesPlain
	m.UID = w.eventUID(id, index)
	m.OriginalEventUID = id
	if w.op != "" {
		m.EventCode = w.op
		r.use(fOperation)
	}
	m.OriginalTime = r.take(fCreationTime)
	if !w.rec.Created.IsZero() {
		m.LoggedTime = ocsf.Number(w.rec.Created.UnixMilli())
	}
	if !w.rec.Fetched.IsZero() {
		m.ProcessedTime = ocsf.Number(w.rec.Fetched.UnixMilli())
	}
	m.LogName = w.rec.ContentType
	m.LogProvider = "Office 365 Management Activity API"
	m.LogFormat = "JSON"
	m.LogVersion = r.take(fVersion)
	m.Source = r.take(fWorkload)
	m.Type = w.rule.typeName
	if m.TenantUID = r.take(fOrganizationID); m.TenantUID == "" {
		m.TenantUID = string(w.rec.Tenant)
	}
	if n > 1 {
		m.CorrelationUID = id
		return
	}
	m.CorrelationUID = w.correlation()
}

// The lists of profiles, in the order of the alphabet.
var (
	profilesPlain    = []string{"cloud", "host"}
	profilesSecurity = []string{"cloud", "host", "security_control"}
	profilesAI       = []string{"ai_operation", "cloud", "host"}
)

func (w *worker) correlation() string {
	r := &w.record
	if s := r.take(fInterSystemsID); s != "" {
		return s
	}
	if s := r.part(fAppAccessContext, "CorrelationId"); s != "" {
		return s
	}
	return r.takeFirst(fCorrelationID, fIncidentID, fAlertID, fInvestigationID)
}

func (w *worker) cloud() {
	c := &w.ev.Cloud
	tenant, name := w.ev.Metadata.TenantUID, w.record.take(fOrganizationName)
	c.Provider = "Microsoft"
	if tenant == "" && name == "" {
		return
	}
	c.Account = ocsf.Account{UID: tenant, Name: name, TypeID: ocsf.Value(ocsf.AccountTypeM365Tenant)}
	c.Org = ocsf.Organization{UID: tenant, Name: name}
}

// request puts the parameters of the call into api.request.
func (w *worker) request(id string) {
	r := &w.record
	data, whole := r.pairMap(fParameters)
	if data == nil {
		return
	}
	if whole {
		r.use(fParameters)
	}
	uid := r.take(fClientRequestID)
	if uid == "" {
		uid = id
	}
	w.ev.API.Request = ocsf.Request{UID: uid, Data: data}
}

func (w *worker) srcEndpoint() {
	r, src := &w.record, &w.ev.SrcEndpoint
	fields := [...]field{fSenderIP, fClientIP, fClientIPAddress, fActorIPAddress, fActorIP, fUserIP}
	list := fields[1:]
	if w.class == ocsf.ClassEmailActivity {
		list = fields[:]
	}
	for _, f := range list {
		a, ok := parseAddress(r.text(f))
		if !ok {
			continue
		}
		r.use(f)
		src.IP, src.Hostname = a.ip, a.hostname
		if a.port >= 0 {
			src.Port = ocsf.Number(int64(a.port))
		}
		break
	}
	src.Name, src.UID = r.take(fClientMachineName), r.take(fMachineID)
	if src.IP == "" && src.Hostname == "" && src.Name == "" && src.UID == "" {
		if src.SvcName = r.text(fWorkload); src.SvcName == "" {
			src.SvcName = fallbackService
		}
	}
}

func (w *worker) device() {
	r := &w.record
	if r.get(fDeviceProperties) == nil {
		return
	}
	d := ocsf.Device{UID: r.pairText(fDeviceProperties, "Id"), Name: r.pairText(fDeviceProperties, "DisplayName")}
	if d.UID == "" && d.Name == "" {
		return
	}
	d.TypeID = ocsf.Value(0)
	if os := r.pairText(fDeviceProperties, "OS"); os != "" {
		d.OS = ocsf.OS{Name: os, TypeID: ocsf.Value(osType(os))}
	}
	d.IsCompliant = truth(r.pairText(fDeviceProperties, "IsCompliant"))
	d.IsManaged = truth(r.pairText(fDeviceProperties, "IsManaged"))
	w.ev.Device = d
}

func truth(s string) ocsf.Bool {
	switch {
	case strings.EqualFold(s, "true"):
		return ocsf.True
	case strings.EqualFold(s, "false"):
		return ocsf.False
	}
	return ocsf.Absent
}

func osType(name string) int {
	for _, known := range [...]struct {
		prefix string
		id     int
	}{
		{"windows", ocsf.OSTypeWindows},
		{"mac", ocsf.OSTypeMacOS},
		{"ipad", ocsf.OSTypeIPadOS},
		{"ios", ocsf.OSTypeIOS},
		{"android", ocsf.OSTypeAndroid},
		{"linux", ocsf.OSTypeLinux},
	} {
		if len(name) >= len(known.prefix) && strings.EqualFold(name[:len(known.prefix)], known.prefix) {
			return known.id
		}
	}
	return 0
}

func (w *worker) message() string {
	user := w.record.text(fUserID)
	if user == "" {
		return w.operationText()
	}
	op := w.operationText()
	start := len(w.record.arena)
	b := append(w.record.arena, op...)
	b = append(b, " by "...)
	b = append(b, user...)
	w.record.arena = b
	return view(b[start:])
}

// hash ties the event to the bytes of the record.
func (w *worker) hash() {
	e := &w.ev
	sum := sha256.Sum256(w.rec.Raw)
	start := len(w.record.arena)
	w.record.arena = hex.AppendEncode(w.record.arena, sum[:])
	e.RawDataHash = ocsf.Fingerprint{AlgorithmID: ocsf.Value(ocsf.FingerprintAlgorithmSHA256), Value: view(w.record.arena[start:])}
	e.RawDataSize = ocsf.Number(int64(len(w.rec.Raw)))
}

// finish sets what depends on everything else: severity, the raw record, unmapped.
func (w *worker) finish() {
	e := &w.ev
	if !e.SeverityID.Present() {
		e.SeverityID = ocsf.Value(ocsf.SeverityInformational)
		if e.StatusID.ID() == ocsf.OutcomeStatusFailure {
			e.SeverityID = ocsf.Value(ocsf.SeverityLow)
		}
	}
	if w.options.RawData && (w.options.DLPClear || !w.sensitive()) {
		e.RawData = view(w.rec.Raw)
	}
	e.Unmapped = w.unmapped()
}

// logged reports whether the record types are those that log what has happened, so that a record without a result is a success.
func logged(recordType int) bool {
	switch recordType {
	case 4, 6, 7, 14, 25, 36, 37, 54, 55, 56:
		return true
	}
	return false
}
