package deploy_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// manifest is what the tests look at in a Kubernetes object.
type manifest struct {
	Kind     string `yaml:"kind"`
	Metadata struct {
		Name string `yaml:"name"`
	} `yaml:"metadata"`
	Spec struct {
		Template struct {
			Spec struct {
				Containers []container `yaml:"containers"`
			} `yaml:"spec"`
		} `yaml:"template"`
	} `yaml:"spec"`
}

type container struct {
	Name  string   `yaml:"name"`
	Args  []string `yaml:"args"`
	Ports []struct {
		ContainerPort int `yaml:"containerPort"`
	} `yaml:"ports"`
	SecurityContext struct {
		ReadOnlyRootFilesystem bool `yaml:"readOnlyRootFilesystem"`
	} `yaml:"securityContext"`
}

// TestKubernetesFiles sees that the files parse, that kustomize would find what it names, and that each container is started with the configuration
// that the config map carries, on the port that the configuration opens.
func TestKubernetesFiles(t *testing.T) {
	t.Parallel()
	var kustomization struct {
		Resources          []string `yaml:"resources"`
		ConfigMapGenerator []struct {
			Files []string `yaml:"files"`
		} `yaml:"configMapGenerator"`
	}
	if err := yaml.Unmarshal([]byte(readFile(t, "kubernetes/kustomization.yaml")), &kustomization); err != nil {
		t.Fatal(err)
	}
	carried := map[string]string{}
	for _, generator := range kustomization.ConfigMapGenerator {
		for _, file := range generator.Files {
			carried["/etc/millrace/"+filepath.Base(file)] = readFile(t, filepath.Join("kubernetes", file))
		}
	}
	deployments := 0
	for _, resource := range kustomization.Resources {
		for _, object := range manifests(t, filepath.Join("kubernetes", resource)) {
			if object.Kind != "Deployment" {
				continue
			}
			deployments++
			for _, c := range object.Spec.Template.Spec.Containers {
				checkContainer(t, c, carried)
			}
		}
	}
	if deployments != 3 {
		t.Errorf("%d deployments, want 3", deployments)
	}
}

func checkContainer(t *testing.T, c container, carried map[string]string) {
	t.Helper()
	config, ok := carried[c.Args[len(c.Args)-1]]
	if !ok {
		t.Fatalf("%s is started with %q, which the config map does not carry", c.Name, c.Args)
	}
	var values struct {
		Admin struct {
			Listen string `yaml:"listen"`
		} `yaml:"admin"`
	}
	if err := yaml.Unmarshal([]byte(config), &values); err != nil {
		t.Fatalf("%s: %v", c.Name, err)
	}
	if _, port, _ := strings.Cut(values.Admin.Listen, ":"); len(c.Ports) != 1 || port != strconv.Itoa(c.Ports[0].ContainerPort) {
		t.Errorf("%s: ports %v, but the configuration listens on %s", c.Name, c.Ports, values.Admin.Listen)
	}
	if !c.SecurityContext.ReadOnlyRootFilesystem {
		t.Errorf("%s: root file system is not read-only", c.Name)
	}
}

func manifests(t *testing.T, path string) []manifest {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	decoder := yaml.NewDecoder(f)
	var all []manifest
	for {
		var m manifest
		err := decoder.Decode(&m)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		all = append(all, m)
	}
}
