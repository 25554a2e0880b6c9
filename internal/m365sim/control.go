package m365sim

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"time"

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
	mux.HandleFunc("GET /_sim/attacks/{tenant}", func(w http.ResponseWriter, r *http.Request) {
		if t := s.findTenant(r.PathValue("tenant")); t != nil {
			writeJSON(w, r, http.StatusOK, t.Attacks())
			return
		}
		http.NotFound(w, r)
	})
	mux.HandleFunc("GET /_sim/faults", func(w http.ResponseWriter, r *http.Request) { writeJSON(w, r, http.StatusOK, s.faults.counts()) })
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
	Records     int       `json:"records"`
	Downloads   int       `json:"downloads"`
	SHA256      string    `json:"sha256,omitempty"` // of the bytes served
}

// controlBlobs writes one line of JSON for each blob that a tenant has by now; with ?hash=1 also the hash of its bytes.
func (s *Server) controlBlobs(w http.ResponseWriter, r *http.Request) {
	t := s.findTenant(r.PathValue("tenant"))
	if t == nil {
		http.NotFound(w, r)
		return
	}
	now := s.now()
	w.Header().Set("Content-Type", "application/x-ndjson")
	enc := json.NewEncoder(w)
	var buf tenant.Buffer
	for _, ct := range tenant.ContentTypes() {
		for d := range t.Each(ct, time.Unix(0, 0), now, now) {
			row := BlobLedger{ContentType: ct, ContentID: d.ContentID, Created: d.Created, Visible: d.Visible, Records: d.Records, Downloads: s.books.downloads(t.ID(), d.ContentID)}
			if r.URL.Query().Get("hash") != "" {
				t.Render(&buf, d)
				sum := sha256.Sum256(buf.Bytes())
				row.SHA256 = hex.EncodeToString(sum[:])
			}
			if err := enc.Encode(row); err != nil {
				return // the client is gone
			}
		}
	}
}
