package kafkatx

import (
	"errors"
	"fmt"
	"io"
	"testing"

	kafka "github.com/segmentio/kafka-go"
)

func TestClassify(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		err  error
		want class
		lost bool
	}{
		{io.ErrUnexpectedEOF, classRetry, true},
		{kafka.Error(7), classRetry, true},   // timed out: perhaps written
		{kafka.Error(20), classRetry, true},  // written, not replicated yet
		{kafka.Error(6), classRetry, false},  // not the leader
		{kafka.Error(19), classRetry, false}, // not enough replicas: not written
		{kafka.Error(16), classRetry, false}, // not the coordinator
		{kafka.Error(88), classRetry, false}, // offsets of an open transaction
		{kafka.Error(51), classBusy, false},
		{kafka.Error(10), classAbort, false},
		{kafka.Error(45), classAbort, false},
		{kafka.Error(48), classAbort, false},
		{kafka.Error(59), classAbort, false},
		{kafka.Error(120), classAbort, false}, // unknown to kafka-go
		{kafka.Error(22), classMember, false},
		{kafka.Error(25), classMember, false},
		{kafka.Error(27), classMember, false},
		{kafka.Error(47), classFenced, false},
		{kafka.Error(49), classFenced, false},
		{kafka.Error(90), classFenced, false},
		{kafka.Error(29), classFatal, false}, // not authorized
		{kafka.Error(53), classFatal, false}, // not authorized for the transactional id
		{kafka.Error(35), classFatal, false}, // unsupported version
		{kafka.Error(999), classFatal, false},
		{permanentError{kafka.Error(3)}, classFatal, false},
	} {
		err := fmt.Errorf("operation: %w", tc.err)
		if got := classify(err); got != tc.want {
			t.Errorf("classify(%v) = %d, want %d", err, got, tc.want)
		}
		if got := lost(err); got != tc.lost {
			t.Errorf("lost(%v) = %t, want %t", err, got, tc.lost)
		}
	}
}

// TestSentinels checks what the owner of a number goes by.
func TestSentinels(t *testing.T) {
	t.Parallel()
	for code, want := range map[int]error{90: ErrFenced, 47: ErrFenced, 22: ErrStaleMember, 45: ErrRefused, 51: ErrRefused, 29: nil} {
		p := &Producer{}
		err := p.mark(fmt.Errorf("operation: %w", kafka.Error(code)))
		for _, sentinel := range []error{ErrFenced, ErrStaleMember, ErrRefused, ErrUnknownOutcome} {
			if got := errors.Is(err, sentinel); got != errors.Is(want, sentinel) {
				t.Errorf("code %d: is %q: %t", code, sentinel, got)
			}
		}
	}
}

// TestRightIsNamed checks that an authorizer's refusal says what to grant, and stays what it was.
func TestRightIsNamed(t *testing.T) {
	t.Parallel()
	for code, want := range map[int]string{29: "Read on the topics", 30: "Read on the group", 53: "Write and Describe on the transactional id"} {
		err := withRight(fmt.Errorf("operation: %w", kafka.Error(code)))
		wantError(t, err, want, "operation")
		if !errors.Is(err, kafka.Error(code)) {
			t.Errorf("code %d is lost: %v", code, err)
		}
	}
	if err := withRight(io.ErrUnexpectedEOF); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
}
