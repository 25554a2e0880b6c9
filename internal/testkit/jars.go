package testkit

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// poms holds one Maven file per supported version of Apache Kafka.
//
//go:embed kafka/pom-*.xml
var poms embed.FS

// JarsEnv names the environment variable that overrides where the jars are kept. Below it there is one folder per version.
const JarsEnv = "TESTKIT_KAFKA_JARS"

// installHint says what brings a machine to run the tests on real brokers.
const installHint = "install Java 17 or newer and Maven (Debian: apt-get install default-jre-headless maven), then run: make test-kafka"

// FetchKafka makes sure that the jars of some versions are there, so that tests find them without asking the network.
func FetchKafka(ctx context.Context, versions ...string) error {
	for _, version := range versions {
		if _, err := kafkaJars(ctx, version); err != nil {
			return err
		}
	}
	return nil
}

// kafkaJars returns a folder that holds the jars of a version of Apache Kafka, fetching them from Maven Central on first use. Processes
// that ask at once wait for the first of them; a fetch that was cut off leaves nothing that looks complete.
func kafkaJars(ctx context.Context, version string) (string, error) {
	pom, err := poms.ReadFile("kafka/pom-" + version + ".xml")
	if err != nil {
		return "", fmt.Errorf("kafka %q has no pinned pom in internal/testkit/kafka", version)
	}
	root, err := jarsRoot()
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(root, 0o755); err != nil {
		return "", fmt.Errorf("kafka jars: %w (choose another folder with %s)", err, JarsEnv)
	}
	unlock, err := lockFile(filepath.Join(root, "kafka-"+version+".lock"))
	if err != nil {
		return "", fmt.Errorf("kafka jars: %w", err)
	}
	defer unlock()
	dir := filepath.Join(root, "kafka-"+version)
	if jars, _ := filepath.Glob(filepath.Join(dir, "kafka_2.13-*.jar")); len(jars) > 0 {
		return dir, nil
	}
	return dir, fetchJars(ctx, pom, dir)
}

func jarsRoot() (string, error) {
	if root := os.Getenv(JarsEnv); root != "" {
		return root, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("kafka jars: %w (choose a folder with %s)", err, JarsEnv)
	}
	return filepath.Join(cache, "millrace"), nil
}

// fetchJars lets Maven copy the dependencies of pom into a folder beside dir and then renames it to dir.
func fetchJars(ctx context.Context, pom []byte, dir string) error {
	mvn, err := exec.LookPath("mvn")
	if err != nil {
		return fmt.Errorf("kafka jars: no mvn on the path: %s", installHint)
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "fetching-")
	if err != nil {
		return fmt.Errorf("kafka jars: %w", err)
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	pomFile := filepath.Join(tmp, "pom.xml")
	if err := os.WriteFile(pomFile, pom, 0o644); err != nil {
		return fmt.Errorf("kafka jars: %w", err)
	}
	jars := filepath.Join(tmp, "jars")
	cmd := exec.CommandContext(ctx, mvn, "-q", "-B", "-f", pomFile, "dependency:copy-dependencies",
		"-DincludeScope=runtime", "-DoutputDirectory="+jars)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("kafka jars: mvn dependency:copy-dependencies: %w\n%s", err, tail(out))
	}
	if err := os.Rename(jars, dir); err != nil {
		return fmt.Errorf("kafka jars: %w", err)
	}
	return nil
}

// javaPath finds a Java that Kafka 4 runs on.
func javaPath(ctx context.Context) (string, error) {
	java, err := exec.LookPath("java")
	if err != nil {
		return "", fmt.Errorf("no java on the path: %s", installHint)
	}
	out, err := exec.CommandContext(ctx, java, "-version").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("java -version: %w: %s", err, installHint)
	}
	major, err := javaMajor(string(out))
	if err != nil {
		return "", err
	}
	if major < 17 {
		return "", fmt.Errorf("%s is Java %d: %s", java, major, installHint)
	}
	return java, nil
}

// javaMajor reads the major version out of what java -version prints: openjdk version "17.0.15" 2025-04-15.
func javaMajor(output string) (int, error) {
	_, rest, _ := strings.Cut(output, `version "`)
	version, _, ok := strings.Cut(rest, `"`)
	if !ok {
		return 0, errors.New("java -version printed no version: " + installHint)
	}
	head, _, _ := strings.Cut(version, ".")
	head, _, _ = strings.Cut(head, "-")
	major, err := strconv.Atoi(head)
	if err != nil {
		return 0, fmt.Errorf("java version %q: %s", version, installHint)
	}
	return major, nil
}

// tail returns the end of what a command printed, enough to see why it failed.
func tail(out []byte) string {
	const keep = 4000
	if len(out) > keep {
		out = out[len(out)-keep:]
	}
	return strings.TrimSpace(string(out))
}
