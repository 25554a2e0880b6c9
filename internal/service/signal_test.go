package service

import (
	"os"
	"syscall"
	"testing"
)

func TestSecondSignalExitsAtOnce(t *testing.T) {
	t.Parallel()
	signals := make(chan os.Signal, 2)
	first, second := make(chan struct{}), make(chan struct{})
	go stopOnSignal(signals, func() { close(first) }, func() { close(second) })
	signals <- syscall.SIGTERM
	<-first
	select {
	case <-second:
		t.Fatal("one signal was taken for two")
	default:
	}
	signals <- syscall.SIGINT
	<-second
}
