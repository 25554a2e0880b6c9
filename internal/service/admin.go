package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// adminCloseBound is how long a scrape in progress may hold up the end.
const adminCloseBound = 2 * time.Second

// errStarting is what /readyz says before the component exists.
var errStarting = errors.New("starting")

// Admin is the listener for metrics and probes. /healthz answers as long as the process runs, /readyz as the component says.
type Admin struct {
	server *http.Server // nil = off
	addr   string
	served chan error
	ready  atomic.Pointer[func() error]
}

// NewAdmin starts the listener. That the address cannot be had is an error with its remedy.
func NewAdmin(cfg AdminConfig, rt Runtime) (*Admin, error) {
	a := &Admin{}
	a.SetReady(func() error { return errStarting })
	address, err := cfg.address()
	if err != nil || address == "" {
		return a, err
	}
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("admin.listen: %s is in use by another process: stop that one, choose another port with -set admin.listen=host:port, or do without by -set admin.listen=off", address)
	}
	if err != nil {
		return nil, fmt.Errorf("admin.listen: %s: %w: choose an address of this machine with -set admin.listen=host:port, or do without by -set admin.listen=off", address, err)
	}
	a.addr = listener.Addr().String()
	a.served = make(chan error, 1) // one: the result waits for Close
	a.server = &http.Server{
		Handler:           a.routes(rt),
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       time.Minute,
		ErrorLog:          slog.NewLogLogger(rt.Log.Handler(), slog.LevelWarn),
	}
	go func() { a.served <- a.server.Serve(listener) }()
	return a, nil
}

// Addr is where the listener is, "" when it is off.
func (a *Admin) Addr() string { return a.addr }

// SetReady replaces what /readyz asks.
func (a *Admin) SetReady(ready func() error) { a.ready.Store(&ready) }

// Close ends the listener.
func (a *Admin) Close() error {
	if a.server == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), adminCloseBound)
	defer cancel()
	err := a.server.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) { // a profile in progress is not worth waiting for
		err = a.server.Close()
	}
	if served := <-a.served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

func (a *Admin) routes(rt Runtime) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(rt.Registry, promhttp.HandlerOpts{Registry: rt.Registry}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := (*a.ready.Load())(); err != nil {
			answer(w, http.StatusServiceUnavailable, err.Error())
			return
		}
		answer(w, http.StatusOK, "ready")
	})
	mux.Handle("/debug/pprof/", fromHere(http.HandlerFunc(pprof.Index)))
	mux.Handle("/debug/pprof/cmdline", fromHere(http.HandlerFunc(pprof.Cmdline)))
	mux.Handle("/debug/pprof/profile", fromHere(http.HandlerFunc(pprof.Profile)))
	mux.Handle("/debug/pprof/symbol", fromHere(http.HandlerFunc(pprof.Symbol)))
	mux.Handle("/debug/pprof/trace", fromHere(http.HandlerFunc(pprof.Trace)))
	return mux
}

func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text+"\n") // a caller that has gone needs no answer
}

// fromHere serves callers on this machine only: a heap profile holds record bodies.
func fromHere(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil || !from.Addr().Unmap().IsLoopback() {
			answer(w, http.StatusForbidden, "profiles are served to callers on this machine only")
			return
		}
		next.ServeHTTP(w, r)
	})
}
