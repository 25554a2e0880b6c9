package app

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// maxFile bounds a lookup file. The largest databases of this kind are below 200 MiB.
const maxFile = 512 << 20

// file is a lookup file on disk.
type file struct {
	key  string // of the configuration
	path string
}

// Name is the key and the path.
func (f file) Name() string { return f.key + " " + f.path }

// Stamp is size and time of change: a file that is replaced or rewritten gets another one.
func (f file) Stamp() (string, error) {
	info, err := os.Stat(f.path)
	if err != nil {
		return "", cause(err)
	}
	return fmt.Sprintf("%d %d", info.Size(), info.ModTime().UnixNano()), nil
}

// Read reads it all.
func (f file) Read() ([]byte, error) {
	in, err := os.Open(f.path)
	if err != nil {
		return nil, cause(err)
	}
	defer func() { _ = in.Close() }()
	data, err := io.ReadAll(io.LimitReader(in, maxFile+1))
	switch {
	case err != nil:
		return nil, cause(err)
	case len(data) > maxFile:
		return nil, fmt.Errorf("larger than %d MiB", maxFile>>20)
	}
	return data, nil
}

// cause drops the path from an error: Name has said it.
func cause(err error) error {
	if path, ok := errors.AsType[*os.PathError](err); ok {
		return path.Err
	}
	return err
}
