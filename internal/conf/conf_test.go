package conf_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"millrace/internal/conf"
)

type common struct {
	Log struct {
		Level string `koanf:"level" help:"How much is logged."`
	} `koanf:"log"`
}

type kafka struct {
	Brokers    []string      `koanf:"brokers" help:"Where the cluster is first asked."`
	Partitions int           `koanf:"partitions" help:"Partitions of each topic, for life."`
	Password   conf.Secret   `koanf:"password" help:"SASL password."`
	Max        conf.Size     `koanf:"max" help:"Largest record."`
	Wait       time.Duration `koanf:"wait" help:"How long to wait for a broker."`
}

type tenant struct {
	ID      string      `koanf:"id" help:"GUID of the tenant."`
	Secret  conf.Secret `koanf:"secret" help:"Client secret."`
	Sources []string    `koanf:"sources" help:"Which sources to fetch."`
	Limits  struct {
		Rate int `koanf:"rate" help:"Requests a minute."`
	} `koanf:"limits"`
}

type Config struct {
	Common  common            `koanf:",squash"`
	Kafka   kafka             `koanf:"kafka" help:"The cluster."`
	Tenants []tenant          `koanf:"tenants" help:"One entry a tenant."`
	Tags    map[string]string `koanf:"tags" help:"Networks by name."`
	Keep    time.Duration     `koanf:"keep" help:"How long things are kept."`
	Name    string            `koanf:"name" help:"A name."`
	Ratio   float64           `koanf:"ratio" help:"A ratio."`
	Maybe   *bool             `koanf:"maybe" help:"Unset, true or false."`
}

func defaults() Config {
	var c Config
	c.Common.Log.Level = "info"
	c.Kafka = kafka{Brokers: []string{"127.0.0.1:9092"}, Partitions: 12, Max: 8 * conf.MiB, Wait: 15 * time.Second}
	c.Keep = 30 * time.Minute
	c.Tags = map[string]string{"198.51.100.0/24": "vpn"}
	c.Ratio = 0.5
	return c
}

func TestAccepted(t *testing.T) {
	t.Parallel()
	want := map[string]func(*Config){
		"empty":      func(*Config) {},
		"comma_list": func(c *Config) { c.Kafka.Brokers = []string{"b1.example.org:9092", "b2.example.org:9092"} },
		"full": func(c *Config) {
			c.Common.Log.Level = "debug"
			c.Kafka.Brokers = []string{"b1.example.org:9092", "b2.example.org:9092"}
			c.Kafka.Password = conf.SecretFile("/run/secrets/kafka")
			c.Kafka.Max, c.Kafka.Wait = 2*conf.MiB, 90*time.Second
			c.Tenants = []tenant{
				{ID: "11111111-2222-3333-4444-555555555555", Sources: []string{"exchange", "entra"}},
				{ID: "22222222-2222-3333-4444-555555555555", Secret: conf.SecretFile("/run/secrets/second")},
			}
			c.Tags = map[string]string{"198.51.100.0/24": "vpn", "203.0.113.0/24": "office"}
			c.Keep = 15 * 24 * time.Hour
		},
		"null_keeps_default": func(*Config) {},
		"number_as_text":     func(c *Config) { c.Name, c.Ratio = "12345", 2 },
		"optional":           func(c *Config) { c.Maybe = new(bool) },
	}
	files, err := filepath.Glob("testdata/accepted/*.yaml")
	if err != nil || len(files) != len(want) {
		t.Fatalf("%d files, %d cases: %v", len(files), len(want), err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, expected := defaults(), defaults()
			if err := conf.Load(&got, conf.Sources{File: file}); err != nil {
				t.Fatal(err)
			}
			want[name](&expected)
			if diff := cmp.Diff(expected, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/refused/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			t.Parallel()
			want, err := os.ReadFile(strings.TrimSuffix(file, ".yaml") + ".want")
			if err != nil {
				t.Fatal(err)
			}
			got := defaults()
			err = conf.Load(&got, conf.Sources{File: file})
			if err == nil {
				t.Fatal("accepted")
			}
			if !strings.Contains(err.Error(), strings.TrimSpace(string(want))) || !strings.Contains(err.Error(), file) {
				t.Errorf("got %q, want it to name the file and %q", err, want)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("more than one line: %q", err)
			}
			if diff := cmp.Diff(defaults(), got); diff != "" {
				t.Errorf("changed in spite of the error: %s", diff)
			}
		})
	}
}

func TestLayers(t *testing.T) {
	t.Parallel()
	full := "testdata/accepted/full.yaml"
	tests := []struct {
		name string
		from conf.Sources
		want func(Config) bool
	}{
		{"environment over file", conf.Sources{File: full, Env: []string{"MILLRACE_KAFKA__WAIT=5s", "HOME=/root"}}, func(c Config) bool { return c.Kafka.Wait == 5*time.Second }},
		{"set over environment", conf.Sources{File: full, Env: []string{"MILLRACE_KAFKA__WAIT=5s"}, Set: []string{"kafka.wait=6s"}}, func(c Config) bool { return c.Kafka.Wait == 6*time.Second }},
		{"comma list", conf.Sources{Env: []string{"MILLRACE_KAFKA__BROKERS=a:1, b:2"}}, func(c Config) bool { return cmp.Equal(c.Kafka.Brokers, []string{"a:1", "b:2"}) }},
		{"empty list", conf.Sources{Set: []string{"kafka.brokers="}}, func(c Config) bool { return len(c.Kafka.Brokers) == 0 }},
		{"position of a default list", conf.Sources{Set: []string{"kafka.brokers.0=a:1", "kafka.brokers.1=b:2"}}, func(c Config) bool { return cmp.Equal(c.Kafka.Brokers, []string{"a:1", "b:2"}) }},
		{"key of an entry", conf.Sources{File: full, Env: []string{"MILLRACE_TENANTS__1__ID=x"}}, func(c Config) bool {
			return c.Tenants[1].ID == "x" && c.Tenants[1].Secret.IsSet() && c.Tenants[0].Sources[1] == "entra"
		}},
		{"new entry", conf.Sources{File: full, Env: []string{"MILLRACE_TENANTS__2__ID=x", "MILLRACE_TENANTS__2__SECRET=s3cret", "MILLRACE_TENANTS__2__SOURCES=dlp"}}, func(c Config) bool {
			value, err := c.Tenants[2].Secret.Reveal()
			return err == nil && value == "s3cret" && c.Tenants[2].Sources[0] == "dlp"
		}},
		{"nested key of an entry", conf.Sources{Set: []string{"tenants.0.id=x", "tenants.0.limits.rate=9"}}, func(c Config) bool { return c.Tenants[0].ID == "x" && c.Tenants[0].Limits.Rate == 9 }},
		{"entry as a whole", conf.Sources{Set: []string{"tenants=[{id: a}, {id: b}]"}}, func(c Config) bool { return len(c.Tenants) == 2 && c.Tenants[1].ID == "b" }},
		{"numbers and booleans from text", conf.Sources{Env: []string{"MILLRACE_KAFKA__PARTITIONS=4", "MILLRACE_MAYBE=true", "MILLRACE_RATIO=0.25", "MILLRACE_KAFKA__MAX=1GiB"}}, func(c Config) bool {
			return c.Kafka.Partitions == 4 && *c.Maybe && c.Ratio == 0.25 && c.Kafka.Max == conf.GiB
		}},
		{"secret from environment", conf.Sources{Env: []string{"MILLRACE_KAFKA__PASSWORD=hunter2"}}, func(c Config) bool { v, err := c.Kafka.Password.Reveal(); return v == "hunter2" && err == nil }},
		{"secret by variable", conf.Sources{Env: []string{"PW=hunter2"}, Set: []string{"kafka.password=env:PW"}}, func(c Config) bool { v, err := c.Kafka.Password.Reveal(); return v == "hunter2" && err == nil }},
		{"value with an equals sign", conf.Sources{Set: []string{"name=a=b"}}, func(c Config) bool { return c.Name == "a=b" }},
		{"service links of Kubernetes", conf.Sources{Env: []string{"MILLRACE_INGESTER_SERVICE_HOST=192.0.2.1", "MILLRACE_INGESTER_PORT_9100_TCP_ADDR=192.0.2.1", "MILLRACE_INGESTER_PORT=tcp://192.0.2.1:9100"}}, func(Config) bool { return true }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := defaults()
			if err := conf.Load(&got, test.from); err != nil {
				t.Fatal(err)
			}
			if !test.want(got) {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestRefusedOverrides(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		from conf.Sources
		want string
	}{
		{"unknown variable", conf.Sources{Env: []string{"MILLRACE_KAFKA__BROKER=x"}}, "environment variable MILLRACE_KAFKA__BROKER: unknown key kafka.broker: did you mean kafka.brokers?"},
		{"one underscore", conf.Sources{Env: []string{"MILLRACE_KAFKA_BROKERS=x"}}, "did you mean kafka.brokers?"},
		{"unknown set", conf.Sources{Set: []string{"kafka.wiat=1s"}}, "-set kafka.wiat: unknown key kafka.wiat: did you mean kafka.wait?"},
		{"below a scalar", conf.Sources{Set: []string{"name.x=1"}}, "unknown key name.x"},
		{"no equals sign", conf.Sources{Set: []string{"name"}}, "write key=value"},
		{"literal secret", conf.Sources{Set: []string{"kafka.password=hunter2"}}, "give its place"},
		{"list with a hole", conf.Sources{Set: []string{"tenants.1.id=x"}}, "the list has 0 entries: the next one is 0"},
		{"no position", conf.Sources{Set: []string{"tenants.id=x"}}, "is not a position in the list"},
		{"unknown in an entry", conf.Sources{Set: []string{"tenants.0.idd=x"}}, "did you mean"},
		{"bad number", conf.Sources{Env: []string{"MILLRACE_KAFKA__PARTITIONS=many"}}, `kafka.partitions: expected a whole number, found "many"`},
		{"bad boolean", conf.Sources{Set: []string{"maybe=perhaps"}}, "expected true or false"},
		{"missing file", conf.Sources{File: "testdata/none.yaml"}, "config file testdata/none.yaml: no such file"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := defaults()
			err := conf.Load(&got, test.from)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Error("the error shows the secret")
			}
		})
	}
}

func TestPrintIsReadBack(t *testing.T) {
	t.Parallel()
	want := defaults()
	err := conf.Load(&want, conf.Sources{File: "testdata/accepted/full.yaml", Set: []string{"name=yes: no", "maybe=true"}})
	if err != nil {
		t.Fatal(err)
	}
	var printed bytes.Buffer
	if err := conf.Print(&printed, want); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "printed.yaml")
	if err := os.WriteFile(file, printed.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	var got Config
	if err := conf.Load(&got, conf.Sources{File: file}); err != nil {
		t.Fatalf("%v\n%s", err, &printed)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s\n%s", diff, &printed)
	}
}

func TestSecretIsNeverSeen(t *testing.T) {
	t.Parallel()
	cfg := defaults()
	err := conf.Load(&cfg, conf.Sources{Env: []string{"MILLRACE_KAFKA__PASSWORD=hunter2", "PW=hunter2", "MILLRACE_TENANTS__0__ID=x"}, Set: []string{"tenants.0.secret=env:PW"}})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := conf.Print(&out, cfg); err != nil {
		t.Fatal(err)
	}
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "secret", cfg.Kafka.Password, "config", cfg)
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "secret", cfg.Kafka.Password, "config", cfg)
	_, _ = fmt.Fprintf(&out, "%v %+v %#v %s %q", cfg, cfg, cfg, cfg.Kafka.Password, cfg.Kafka.Password)
	_, _ = fmt.Fprintf(&out, "%+v", struct{ inner kafka }{cfg.Kafka})
	if strings.Contains(out.String(), "hunter2") {
		t.Error(out.String())
	}
}

func TestSecretFileIsReadAnew(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "secret")
	secret := conf.SecretFile(file)
	if _, err := secret.Reveal(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	for _, value := range []string{"one", "two"} {
		if err := os.WriteFile(file, []byte(value+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := secret.Reveal(); got != value || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
	}
	if _, err := (conf.Secret{}).Reveal(); !errors.Is(err, conf.ErrNoSecret) {
		t.Errorf("got %v", err)
	}
}

func TestHelpNamesEveryKey(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := conf.Help(&out, defaults()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"log.level  text (default info)", "kafka.brokers  list of text (default 127.0.0.1:9092)", "kafka.wait  a duration like 30s (default 15s)",
		"tenants.0.id", "tenants.0.limits.rate", "kafka.max  a size like 64MiB (default 8MiB)", "Partitions of each topic, for life.",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
}

func TestSizes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]conf.Size{"0": 0, "64MiB": 64 << 20, "1 GiB": 1 << 30, "1500": 1500, "10MB": 10_000_000, "2TiB": 2 << 40, "7B": 7} {
		got, err := conf.ParseSize(text)
		if err != nil || got != want {
			t.Errorf("%s: got %d, %v", text, got, err)
		}
		if back, err := conf.ParseSize(got.String()); err != nil || back != got {
			t.Errorf("%s: printed as %s", text, got)
		}
	}
	for _, text := range []string{"", "MiB", "-1", "9999999999TiB", "1.5MiB", "1XB"} {
		if got, err := conf.ParseSize(text); err == nil {
			t.Errorf("%q: got %d", text, got)
		}
	}
}

func FuzzLoad(f *testing.F) {
	for _, glob := range []string{"testdata/accepted/*.yaml", "testdata/refused/*.yaml"} {
		files, _ := filepath.Glob(glob)
		for _, file := range files {
			raw, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(raw, "kafka.wait=1s")
		}
	}
	f.Fuzz(func(t *testing.T, yaml []byte, set string) {
		file := filepath.Join(t.TempDir(), "config.yaml")
		if err := os.WriteFile(file, yaml, 0o600); err != nil {
			t.Fatal(err)
		}
		cfg := defaults()
		_ = conf.Load(&cfg, conf.Sources{File: file, Set: []string{set}})
	})
}
