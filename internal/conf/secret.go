package conf

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
)

// maxSecret bounds what is read from a secret file: a private key with its chain fits many times over.
const maxSecret = 1 << 20

// ErrNoSecret is returned by Reveal when nothing was configured.
var ErrNoSecret = errors.New("no secret is configured")

// Secret is a value that must not be seen: a password, a client secret, a private key. A configuration file never holds it,
// only where it is: a path (file:/run/secrets/kafka, or simply /run/secrets/kafka) or a variable (env:KAFKA_PASSWORD). Only the
// environment may hold the secret itself (MILLRACE_KAFKA__SASL__PASSWORD). However it is printed or logged, only the place shows.
//
// The zero value is a secret that is not configured.
type Secret struct {
	// A pointer, because fmt prints unexported values of a nested struct without asking their String method.
	place *place
}

type place struct {
	file  string // path, or
	env   string // name of a variable, "" for a value that was set directly
	value string // of env, or set directly
}

// SecretFile is a secret that lies in a file.
func SecretFile(path string) Secret { return Secret{&place{file: path}} }

// SecretValue is a secret held in memory, for programs that make their own (the simulator's) and for tests.
func SecretValue(value string) Secret { return Secret{&place{value: value}} }

// IsSet reports whether a secret is configured.
func (s Secret) IsSet() bool { return s.place != nil }

// Reveal returns the secret. A file is read anew on each call, so that a rotated secret is picked up without a restart; a line
// end at its end is dropped.
func (s Secret) Reveal() (string, error) {
	switch {
	case s.place == nil:
		return "", ErrNoSecret
	case s.place.file == "":
		return s.place.value, nil
	}
	info, err := os.Stat(s.place.file)
	if err != nil {
		return "", fmt.Errorf("read secret: %w", err)
	}
	if info.Size() > maxSecret {
		return "", fmt.Errorf("read secret %s: larger than %s", s.place.file, Size(maxSecret))
	}
	raw, err := os.ReadFile(s.place.file)
	if err != nil {
		return "", fmt.Errorf("read secret: %w", err)
	}
	value := strings.TrimRight(string(raw), "\r\n")
	if value == "" {
		return "", fmt.Errorf("read secret %s: the file is empty", s.place.file)
	}
	return value, nil
}

// Equal reports whether two secrets are configured alike; go-cmp uses it.
func (s Secret) Equal(other Secret) bool {
	if s.place == nil || other.place == nil {
		return s.place == other.place
	}
	return *s.place == *other.place
}

// String says where the secret is, never what it is.
func (s Secret) String() string {
	switch {
	case s.place == nil:
		return ""
	case s.place.file != "":
		return "file:" + s.place.file
	case s.place.env != "":
		return "env:" + s.place.env
	default:
		return "***"
	}
}

// GoString keeps %#v from showing the secret.
func (s Secret) GoString() string { return "conf.Secret(" + s.String() + ")" }

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText keeps encoders from showing the secret.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// parseSecret reads the form that a file or a -set may hold: a place, never the value.
func parseSecret(text string, lookup func(string) (string, bool)) (Secret, error) {
	if text == "" {
		return Secret{}, nil
	}
	if name, found := strings.CutPrefix(text, "env:"); found {
		value, ok := lookup(name)
		if !ok || value == "" {
			return Secret{}, fmt.Errorf("the environment variable %s is not set", name)
		}
		return Secret{&place{env: name, value: value}}, nil
	}
	path, found := strings.CutPrefix(text, "file:")
	if !found && !strings.HasPrefix(text, "/") && !strings.HasPrefix(text, "./") && !strings.HasPrefix(text, "../") {
		// The text itself is not repeated: it is most likely the secret.
		return Secret{}, errors.New("a secret is not written here: give its place, file:/run/secrets/name or env:NAME")
	}
	return SecretFile(path), nil
}
