package deploy_test

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"

	"millrace/internal/m365sim"
	"millrace/internal/m365sim/tenant"
	"millrace/internal/testkit"
)

const root = ".."

// mains are the commands in the images, by the name of their service.
var mains = map[string]string{
	"ingester": "ingester", "normalizer": "normalizer", "enricher": "enricher", "m365sim": "cmd/m365sim",
}

func loadCompose(t *testing.T) *types.Project {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{filepath.Join(root, "docker-compose.yml")}, cli.WithResolvedPaths(true))
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(t.Context())
	if err != nil {
		t.Fatalf("docker-compose.yml: %v", err)
	}
	return project
}

func TestComposeServices(t *testing.T) {
	t.Parallel()
	project := loadCompose(t)
	want := []string{"enricher", "ingester", "kafka", "m365sim", "normalizer"}
	if got := project.ServiceNames(); !slices.Equal(got, want) {
		t.Fatalf("services %q, want %q", got, want)
	}
	for name, service := range project.Services {
		if service.HealthCheck == nil || len(service.HealthCheck.Test) == 0 {
			t.Errorf("%s has no health check", name)
		}
		for _, port := range service.Ports {
			if port.HostIP != "127.0.0.1" {
				t.Errorf("%s publishes port %s on %q, want 127.0.0.1", name, port.Published, port.HostIP)
			}
		}
		for key := range service.Environment {
			if regexp.MustCompile(`(?i)secret|password|token|credential`).MatchString(key) {
				t.Errorf("%s: environment %s: secrets are files", name, key)
			}
		}
		if name == "kafka" {
			continue
		}
		if !service.ReadOnly || !slices.Contains(service.CapDrop, "ALL") || len(service.SecurityOpt) == 0 {
			t.Errorf("%s: want a read-only file system, no capabilities, no new privileges", name)
		}
	}
	for name, secret := range project.Secrets {
		if secret.File == "" {
			t.Errorf("secret %s is not a file", name)
		}
	}
}

func TestComposeKeepsOffsetsLongerThanRecords(t *testing.T) {
	t.Parallel()
	minutes := loadCompose(t).Services["kafka"].Environment["KAFKA_OFFSETS_RETENTION_MINUTES"]
	if got, err := strconv.Atoi(*minutes); err != nil || got != 45*24*60 {
		t.Errorf("KAFKA_OFFSETS_RETENTION_MINUTES = %s, want %d", *minutes, 45*24*60)
	}
}

// TestDockerfileTargets sees that each image of the compose file is built from a stage that ends in the right command.
func TestDockerfileTargets(t *testing.T) {
	t.Parallel()
	dockerfile := readFile(t, "Dockerfile")
	for name := range mains {
		target := loadCompose(t).Services[name].Build.Target
		_, stage, found := strings.Cut(dockerfile, " AS "+target+"\n")
		stage, _, _ = strings.Cut(stage, "\nFROM ")
		if !found || !strings.Contains(stage, fmt.Sprintf("ENTRYPOINT [%q]", "/"+name)) {
			t.Errorf("no stage %q that starts /%s", target, name)
		}
		if !strings.Contains(dockerfile, "./"+mains[name]) {
			t.Errorf("Dockerfile does not build ./%s", mains[name])
		}
	}
}

// TestCommandLinesAreAccepted gives every command line of the compose file and of the Kubernetes files to the real binary. -topics judges the whole
// configuration, without asking anybody; of the simulator's, -help does so after all other flags were read.
func TestCommandLinesAreAccepted(t *testing.T) {
	t.Parallel()
	bin := testkit.Build(t, root, slices.Collect(maps.Values(mains))...)
	project := loadCompose(t)
	for name := range mains {
		service := project.Services[name]
		args := hostPaths(service.Command, service.Volumes)
		t.Run("compose/"+name, func(t *testing.T) { accepts(t, filepath.Join(bin, name), args) })
		t.Run("compose health check/"+name, func(t *testing.T) {
			if name == "m365sim" {
				return // asks with wget
			}
			check := service.HealthCheck.Test
			if check[0] != "CMD" || check[1] != "/"+name || check[len(check)-1] != "-probe" {
				t.Fatalf("health check %q, want the binary's own -probe", check)
			}
			accepts(t, filepath.Join(bin, name), hostPaths(check[2:len(check)-1], service.Volumes))
		})
	}
	for name := range mains {
		if name == "m365sim" {
			continue
		}
		t.Run("kubernetes/"+name, func(t *testing.T) {
			accepts(t, filepath.Join(bin, name), []string{"-config", filepath.Join("kubernetes", "config", name+".yaml")})
		})
	}
}

// accepts runs a command line to the point where the configuration has been judged.
func accepts(t *testing.T, binary string, args []string) {
	t.Helper()
	last := "-topics"
	if filepath.Base(binary) == "m365sim" {
		last = "-help"
	}
	cmd := exec.CommandContext(t.Context(), binary, append(slices.Clone(args), last)...)
	cmd.Env = []string{"HOME=" + t.TempDir()} // nothing of this machine's environment
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Errorf("%s %s: %v\n%s", filepath.Base(binary), strings.Join(cmd.Args[1:], " "), err, &out)
	}
}

// hostPaths replaces paths inside the container by the files on this machine that are mounted there.
func hostPaths(args []string, volumes []types.ServiceVolumeConfig) []string {
	out := slices.Clone(args)
	for i, arg := range out {
		for _, v := range volumes {
			if v.Type == types.VolumeTypeBind && v.Target == arg {
				out[i] = v.Source
			}
		}
	}
	return out
}

// TestComposeNamesTheSimulatedTenant holds the ingester's configuration and the secret's file against the simulator that the compose file starts.
func TestComposeNamesTheSimulatedTenant(t *testing.T) {
	t.Parallel()
	config := readFile(t, "compose/ingester.yaml")
	if id := (tenant.Config{}).ID(); !strings.Contains(config, id) {
		t.Errorf("compose/ingester.yaml does not name the simulator's tenant %s", id)
	}
	if !strings.Contains(config, m365sim.DefaultClientID) {
		t.Errorf("compose/ingester.yaml does not name the simulator's client %s", m365sim.DefaultClientID)
	}
	if got := readFile(t, "compose/simulator-client-secret.txt"); got != m365sim.DefaultClientSecret {
		t.Errorf("compose/simulator-client-secret.txt holds %q, want the simulator's %q", got, m365sim.DefaultClientSecret)
	}
}

// TestSystemdUnit lets systemd judge the unit, where it is installed; elsewhere it looks at what matters most.
func TestSystemdUnit(t *testing.T) {
	t.Parallel()
	unit := readFile(t, "systemd/millrace@.service")
	for _, want := range []string{"ExecStart=/usr/local/bin/%i -config /etc/millrace/%i.yaml\n", "DynamicUser=yes\n", "ProtectSystem=strict\n"} {
		if !strings.Contains(unit, want) {
			t.Errorf("unit without %q", want)
		}
	}
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Log("systemd-analyze is not on this machine: the unit's syntax was not judged")
		return
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "millrace@.service")
	// The binaries are not installed here, and that they are not is the one complaint that systemd may have.
	judged := strings.ReplaceAll(unit, "/usr/local/bin/%i", "/bin/sh")
	if err := os.WriteFile(path, []byte(judged), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), analyze, "verify", "--man=no", path).CombinedOutput()
	if err != nil || strings.Contains(string(out), "millrace@") {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
