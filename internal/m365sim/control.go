package m365sim

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"millrace/internal/m365sim/tenant"
)

// controlRoutes are the simulator's own endpoints, for tests and for the curious.
func (s *Server) controlRoutes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /_sim/ledger", func(w http.ResponseWriter, r *http.Request) { writeJSON(w, r, http.StatusOK, s.Ledger()) })
	mux.HandleFunc("GET /_sim/health", func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, r, http.StatusOK, map[string]string{"status": "ok"})
	})
	mux.HandleFunc("GET /_sim/clock", func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, r, http.StatusOK, map[string]any{"now": s.now(), "speed": s.cfg.Speed})
	})
	mux.HandleFunc("GET /_sim/blobs/{tenant}", s.controlBlobs)
	mux.HandleFunc("GET /_sim/records/{tenant}", s.controlRecords)
	reg := prometheus.NewRegistry()
	reg.MustRegister(ledgerMetrics{s}) // the registry is empty, so nothing can clash
	mux.Handle("GET /_sim/metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /_sim/attacks/{tenant}", func(w http.ResponseWriter, r *http.Request) {
		if t := s.findTenant(r.PathValue("tenant")); t != nil {
			writeJSON(w, r, http.StatusOK, t.Attacks())
			return
		}
		http.NotFound(w, r)
	})
	mux.HandleFunc("GET /_sim/faults", func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, r, http.StatusOK, s.books.snapshot().Faults)
	})
	mux.HandleFunc("POST /_sim/faults", s.controlFaults)
	return mux
}

// controlFaults replaces the active faults by the list in the body.
func (s *Server) controlFaults(w http.ResponseWriter, r *http.Request) {
	var faults []Fault
	if err := json.NewDecoder(r.Body).Decode(&faults); err != nil {
		http.Error(w, "want a JSON array of faults: "+err.Error(), http.StatusBadRequest)
		return
	}
	for _, f := range faults {
		if err := f.validate(); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	s.faults.set(faults)
	writeJSON(w, r, http.StatusOK, faults)
}

// SetFaults replaces the active faults.
func (s *Server) SetFaults(faults ...Fault) error {
	for _, f := range faults {
		if err := f.validate(); err != nil {
			return err
		}
	}
	s.faults.set(faults)
	return nil
}

// BlobLedger is the ledger of one blob.
type BlobLedger struct {
	ContentType string    `json:"contentType"`
	ContentID   string    `json:"contentId"`
	Created     time.Time `json:"created"`
	Visible     time.Time `json:"visible"`
	Expires     time.Time `json:"expires"`
	Records     int       `json:"records"`
	Repeats     int       `json:"repeats"` // of the records, those of an earlier blob once more
	// Downloads, FirstServed and LastServed are kept until the blob has expired.
	Downloads   int       `json:"downloads"`
	FirstServed time.Time `json:"firstServed,omitzero"`
	LastServed  time.Time `json:"lastServed,omitzero"`
	SHA256      string    `json:"sha256,omitempty"` // of the bytes served
}

// RecordLedger is the ledger of one record in one blob.
type RecordLedger struct {
	ContentID string `json:"contentId"`
	Index     int    `json:"index"`
	ID        string `json:"id"`               // the vendor's; empty where the record has none
	Repeat    bool   `json:"repeat,omitempty"` // of a record of an earlier blob, perhaps with other content
	SHA256    string `json:"sha256"`           // of the exact bytes
}

// controlBlobs writes one line of JSON for each blob that a tenant has by now; with ?hash=1 also the hash of its bytes.
func (s *Server) controlBlobs(w http.ResponseWriter, r *http.Request) {
	hash := r.URL.Query().Get("hash") != ""
	var buf tenant.Buffer
	s.eachBlob(w, r, func(t *tenant.Tenant, d tenant.Descriptor, enc *json.Encoder) error {
		was := s.books.blob(s.key(t), d.ContentID)
		row := BlobLedger{
			ContentType: d.ContentType, ContentID: d.ContentID, Created: d.Created, Visible: d.Visible, Expires: d.Expiration,
			Records: d.Records, Repeats: d.Repeats, Downloads: was.Downloads, FirstServed: was.first, LastServed: was.last,
		}
		if hash {
			t.Render(&buf, d)
			row.SHA256 = hexSHA256(buf.Bytes())
		}
		return enc.Encode(row)
	})
}

// controlRecords writes one line of JSON for each record of each blob that a tenant has by now, in the order of the blobs. One blob is in
// memory at a time.
func (s *Server) controlRecords(w http.ResponseWriter, r *http.Request) {
	var buf tenant.Buffer
	s.eachBlob(w, r, func(t *tenant.Tenant, d tenant.Descriptor, enc *json.Encoder) error {
		t.Render(&buf, d)
		for i, record := range buf.Records() {
			var envelope struct {
				ID string `json:"Id"`
			}
			if err := json.Unmarshal(record, &envelope); err != nil {
				return err // records are objects, and an Id is text
			}
			if err := enc.Encode(RecordLedger{ContentID: d.ContentID, Index: i, ID: envelope.ID, Repeat: i >= d.Records-d.Repeats, SHA256: hexSHA256(record)}); err != nil {
				return err
			}
		}
		return nil
	})
}

// eachBlob writes lines about the blobs that the tenant of the path has by now, those of one content type if the query names it.
func (s *Server) eachBlob(w http.ResponseWriter, r *http.Request, write func(*tenant.Tenant, tenant.Descriptor, *json.Encoder) error) {
	t := s.findTenant(r.PathValue("tenant"))
	if t == nil {
		http.NotFound(w, r)
		return
	}
	types := tenant.ContentTypes()
	if only := r.URL.Query().Get("contentType"); only != "" {
		types = []string{only}
	}
	now := s.now()
	w.Header().Set("Content-Type", "application/x-ndjson")
	enc := json.NewEncoder(w)
	for _, ct := range types {
		for d := range t.Each(ct, time.Unix(0, 0), now, now) {
			if err := write(t, d, enc); err != nil {
				return // the client is gone
			}
		}
	}
}

func hexSHA256(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
