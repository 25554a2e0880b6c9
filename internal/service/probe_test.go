package service_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"

	"millrace/internal/service"
)

func TestProbe(t *testing.T) {
	t.Parallel()
	c := newComponent()
	var missing atomic.Pointer[error]
	why := errors.New("waiting for the directory")
	missing.Store(&why)
	c.ready = func() error { return *missing.Load() }
	ctx, cancel := context.WithCancel(t.Context())
	_, port, _ := strings.Cut(freeAddress(t), ":")
	code := make(chan int, 1)
	go func() {
		code <- service.Run(ctx, program(c), []string{"-set", "admin.listen=0.0.0.0:" + port}, nil, nil, io.Discard, io.Discard)
	}()
	<-c.started
	ask := func(listen string) (int, string) {
		var errs bytes.Buffer
		code := service.Run(t.Context(), program(newComponent()), []string{"-probe", "-set", "admin.listen=" + listen}, nil, nil, io.Discard, &errs)
		return code, errs.String()
	}
	if code, text := ask("0.0.0.0:" + port); code != 1 || !strings.Contains(text, why.Error()) {
		t.Errorf("not ready: exit code %d, %q", code, text)
	}
	var fine error
	missing.Store(&fine)
	if code, text := ask(":" + port); code != 0 || text != "" {
		t.Errorf("ready: exit code %d, %q", code, text)
	}
	cancel()
	<-code
	if code, text := ask("127.0.0.1:" + port); code != 1 || !strings.Contains(text, "probe") {
		t.Errorf("gone: exit code %d, %q", code, text)
	}
	if code, _ := ask("off"); code != 2 {
		t.Errorf("no listener: exit code %d, want 2", code)
	}
}
