package broker

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// errHeld is what tryLock returns when another process has the lock.
var errHeld = errors.New("lock is held")

// lockFolder takes the lock at path for this process. The system releases it when the process ends, however it ends; the number written in it
// only serves the message.
func lockFolder(path string) (unlock func() error, err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("%w: %w: choose a folder that you may write to", ErrNotWritable, err)
	}
	if err := tryLock(f); err != nil {
		holder := readHolder(f)
		_ = f.Close()
		if errors.Is(err, errHeld) {
			return nil, fmt.Errorf("%w: %s is held by %s: stop that instance or choose another folder", ErrLocked, path, holder)
		}
		return nil, fmt.Errorf("%w: lock %s: %w: choose a folder on a local file system", ErrNotWritable, path, err)
	}
	if err := writeHolder(f); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("%w: %w: choose a folder that you may write to", ErrNotWritable, err)
	}
	return f.Close, nil
}

func writeHolder(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

// readHolder names the process that holds the lock, as far as the file tells.
func readHolder(f *os.File) string {
	text, err := io.ReadAll(io.LimitReader(f, 32))
	if err != nil {
		return "another process"
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return "another process"
	}
	return "process " + strconv.Itoa(pid)
}
