package testkit

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Administer does what a text of kafka-topics.sh and kafka-acls.sh command lines asks for, as an administrator would who pastes it into a shell with the
// variables vars. Flags that it does not know are errors, so that nothing is granted by misreading.
func Administer(ctx context.Context, admin *kadm.Client, text string, vars map[string]string) error {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		for name, value := range vars {
			line = strings.ReplaceAll(line, "$"+name, value)
		}
		command, err := parseCommand(strings.Fields(line))
		if err == nil {
			err = command.run(ctx, admin)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", line, err)
		}
	}
	return nil
}

// command is one parsed command line: flags in order of first appearance, with all their values.
type command struct {
	tool   string
	values map[string][]string
}

// switches are the flags without a value.
var switches = map[string]bool{"--create": true, "--if-not-exists": true, "--add": true, "--force": true, "--cluster": true}

func parseCommand(words []string) (command, error) {
	c := command{tool: words[0], values: map[string][]string{}}
	for i := 1; i < len(words); i++ {
		name := words[i]
		switch {
		case switches[name]:
			c.values[name] = nil
		case strings.HasPrefix(name, "--") && i+1 < len(words):
			i++
			c.values[name] = append(c.values[name], words[i])
		default:
			return c, fmt.Errorf("%q: a flag with a value was expected", name)
		}
	}
	return c, nil
}

func (c command) run(ctx context.Context, admin *kadm.Client) error {
	switch c.tool {
	case "kafka-topics.sh":
		return c.createTopic(ctx, admin)
	case "kafka-acls.sh":
		return c.addACL(ctx, admin)
	default:
		return fmt.Errorf("unknown tool %s", c.tool)
	}
}

// take removes a flag and returns its values, so that what is left over was not understood.
func (c command) take(name string) []string {
	values := c.values[name]
	delete(c.values, name)
	return values
}

func (c command) one(name string) string {
	if values := c.take(name); len(values) == 1 {
		return values[0]
	}
	return ""
}

func (c command) rest() error {
	for name := range c.values {
		return fmt.Errorf("%s is not understood", name)
	}
	return nil
}

func (c command) createTopic(ctx context.Context, admin *kadm.Client) error {
	configs := map[string]*string{}
	for _, config := range c.take("--config") {
		key, value, _ := strings.Cut(config, "=")
		configs[key] = &value
	}
	partitions, err := strconv.ParseInt(c.one("--partitions"), 10, 32)
	if err != nil {
		return err
	}
	replicas, err := strconv.ParseInt(c.one("--replication-factor"), 10, 16)
	if err != nil {
		return err
	}
	topic := c.one("--topic")
	c.take("--bootstrap-server")
	c.take("--command-config")
	c.take("--create")
	_, ifNotExists := c.values["--if-not-exists"]
	c.take("--if-not-exists")
	if err := c.rest(); err != nil {
		return err
	}
	_, err = admin.CreateTopic(ctx, int32(partitions), int16(replicas), configs, topic)
	if ifNotExists && errors.Is(err, kerr.TopicAlreadyExists) {
		return nil
	}
	return err
}

func (c command) addACL(ctx context.Context, admin *kadm.Client) error {
	acl := kadm.NewACLs().Allow(c.take("--allow-principal")...).AllowHosts("*")
	var operations []kadm.ACLOperation
	for _, name := range c.take("--operation") {
		operation, err := kmsg.ParseACLOperation(name)
		if err != nil {
			return err
		}
		operations = append(operations, operation)
	}
	acl.Operations(operations...)
	if pattern := c.one("--resource-pattern-type"); pattern == "prefixed" {
		acl.ResourcePatternType(kmsg.ACLResourcePatternTypePrefixed)
	} else if pattern != "" && pattern != "literal" {
		return fmt.Errorf("resource pattern type %s is not understood", pattern)
	}
	for flag, add := range map[string]func(...string) *kadm.ACLBuilder{
		"--topic": acl.MaybeTopics, "--group": acl.MaybeGroups, "--transactional-id": acl.MaybeTransactionalIDs,
	} {
		add(c.take(flag)...)
	}
	if _, cluster := c.values["--cluster"]; cluster {
		acl.Clusters()
		c.take("--cluster")
	}
	c.take("--bootstrap-server")
	c.take("--command-config")
	c.take("--add")
	c.take("--force")
	if err := c.rest(); err != nil {
		return err
	}
	results, err := admin.CreateACLs(ctx, acl)
	if err != nil {
		return err
	}
	for _, result := range results {
		if result.Err != nil {
			return result.Err
		}
	}
	if len(results) == 0 {
		return errors.New("grants nothing")
	}
	return nil
}
