//go:build !unix

package seen

import (
	"errors"
	"os"
)

var errNoMapping = errors.New("memory-mapped files are not supported on this system: leave seen.cache_dir empty and raise seen.memory")

func mapFile(*os.File, int) ([]byte, error) { return nil, errNoMapping }

func unmap([]byte) error { return nil }
