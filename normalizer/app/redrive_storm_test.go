package app_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"millrace/internal/service"
	"millrace/internal/testkit"
	"millrace/normalizer/app"
	"millrace/pkg/audit"
	"millrace/pkg/wire"
)

// asNormalizer makes the test's own binary a normalizer: its value is the text that the mapping has a defect for, or "none".
const asNormalizer = "TEST_AS_NORMALIZER_WITH_DEFECT"

func TestMain(m *testing.M) {
	defect, ok := os.LookupEnv(asNormalizer)
	if !ok {
		os.Exit(m.Run())
	}
	if defect == "none" {
		os.Exit(service.Main(app.Program()))
	}
	os.Exit(service.Main(app.ProgramWithDefect(defect)))
}

// process starts the normalizer's binary, with a defect or "none".
func (p *pipe) process(defect string, args ...string) *testkit.Process {
	p.t.Helper()
	self, err := os.Executable()
	if err != nil {
		p.t.Fatal(err)
	}
	args = append([]string{
		"-set", "kafka.brokers=" + strings.Join(p.brokers, ","), "-set", "kafka.partitions=2", "-set", "kafka.control_partitions=1",
		"-set", "kafka.session_timeout=2s", "-set", "log.level=error",
	}, args...)
	cmd := exec.CommandContext(p.ctx, self, args...)
	cmd.Env = append(os.Environ(), asNormalizer+"="+defect)
	return testkit.StartProcess(p.t, cmd)
}

// TestRedriveUnderKills is the life of a defect: see redriveUnderKills. On Apache Kafka it is TestRedriveUnderKillsOnKafka.
func TestRedriveUnderKills(t *testing.T) {
	t.Parallel()
	redriveUnderKills(t, newPipeFor(t, 4*patience), 20)
}

// redriveUnderKills: records are refused because of a defect of the mapping, redriven and refused again, and after the fix redriven by two
// commands at once, again and again, while the normalizer and both commands are killed at random moments. Everything runs in processes of its own.
func redriveUnderKills(t *testing.T, p *pipe, kills int) {
	t.Helper()
	const defect = "hits-the-defect"
	want := []string{}
	for i := range 300 {
		id := fmt.Sprintf("id-%03d", i)
		if i%3 == 0 {
			id += "-" + defect
		}
		want = append(want, id)
		p.produce(record(audit.SourceSharePoint, id, ""))
		if i%10 == 0 { // a repeat, in another content type
			p.produce(record(audit.SourceGeneral, id, ""))
		}
	}
	slices.Sort(want)

	broken := p.process(defect, "-set", "admin.listen=off")
	p.running = &running{done: make(chan error)}
	p.caughtUp()
	once := p.letters(defect)
	p.mustRun("redrive", "-reason", "mapping_failed")
	p.caughtUp()
	twice := p.letters(defect)
	if len(once) != 100 || len(twice) != 100 {
		t.Fatalf("%d and then %d of 100 records were refused", len(once), len(twice))
	}
	for value, n := range twice {
		if n < 2*once[value] {
			t.Fatalf("%s was refused %d times and after the redrive %d times", value, once[value], n)
		}
	}
	broken.Kill()

	rng := rand.New(rand.NewPCG(3, 4))
	var fixed *testkit.Process
	for killed := 0; killed < kills; {
		if fixed == nil {
			fixed = p.process("none", "-set", "admin.listen=off")
		}
		redrives := []*testkit.Process{p.process("none", "redrive", "-all"), p.process("none", "redrive", "-reason", "mapping_failed")}
		time.Sleep(time.Duration(100+rng.IntN(900)) * time.Millisecond) // a random moment
		for _, victim := range redrives {
			if !ended(victim) {
				victim.Kill()
				killed++
			}
		}
		if rng.IntN(3) == 0 && !ended(fixed) {
			fixed.Kill()
			killed, fixed = killed+1, nil
		}
	}
	p.mustRun("redrive", "-all")
	if fixed == nil || ended(fixed) {
		fixed = p.process("none", "-set", "admin.listen=off")
	}
	p.caughtUp()
	if ended(fixed) {
		t.Errorf("the normalizer ended: %s", fixed.Output())
	}
	if diff := cmp.Diff(want, p.ids(names.EventsAll()...)); diff != "" {
		t.Error(diff)
	}
	if left := p.letters(defect); !maps.Equal(left, twice) {
		t.Errorf("the fixed normalizer refused records too: %d dead letters, %d before", total(left), total(twice))
	}
	t.Logf("%d dead letters, %d copies on the redrive topic", total(twice), len(p.committed(names.Raw(audit.SourceRedrive))))
}

func ended(p *testkit.Process) bool {
	select {
	case <-p.Done():
		return true
	default:
		return false
	}
}

// letters counts the dead letters with a text in them, by their bytes.
func (p *pipe) letters(text string) map[string]int {
	p.t.Helper()
	out := map[string]int{}
	for _, r := range p.committed(names.DeadLetter(false)) {
		if strings.Contains(string(r.Value), text) && header(r, wire.HeaderReason) == string(wire.ReasonMappingFailed) {
			out[string(r.Value)]++
		}
	}
	return out
}

func total(counts map[string]int) int {
	n := 0
	for _, c := range counts {
		n += c
	}
	return n
}
