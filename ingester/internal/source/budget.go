package source

import (
	"context"

	"golang.org/x/sync/semaphore"
)

// firstShare is what a fetch begins with: most blobs of the feed are smaller.
const firstShare = 512 << 10

// budget bounds the memory of blobs that are being fetched or wait to be committed. One half is for the beginnings of fetches, which wait for
// it; the other half is for those that turn out larger, which never wait: one for which there is no room goes to a file.
type budget struct{ first, more *semaphore.Weighted }

func newBudget(bytes int64) *budget {
	return &budget{first: semaphore.NewWeighted(bytes / 2), more: semaphore.NewWeighted(bytes - bytes/2)}
}

// share is what one blob holds of the budget. A nil share holds nothing.
type share struct {
	of          *budget
	first, more int64
}

// begin waits for a first share.
func (b *budget) begin(ctx context.Context) (*share, error) {
	if err := b.first.Acquire(ctx, firstShare); err != nil {
		return nil, err
	}
	return &share{of: b, first: firstShare}, nil
}

// grow takes as much as a blob in memory may have, once, if there is room.
func (s *share) grow() bool {
	const rest = spoolMemory - firstShare
	if s.more > 0 || !s.of.more.TryAcquire(rest) {
		return s.more > 0
	}
	s.more = rest
	return true
}

// keep gives back everything beyond so many bytes.
func (s *share) keep(bytes int64) {
	if s == nil {
		return
	}
	if back := s.more - max(bytes-s.first, 0); back > 0 {
		s.of.more.Release(back)
		s.more -= back
	}
	if back := s.first - bytes; back > 0 {
		s.of.first.Release(back)
		s.first -= back
	}
}

// held is how much it is.
func (s *share) held() int64 {
	if s == nil {
		return 0
	}
	return s.first + s.more
}
