package testkit

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// AdminUser and AdminPassword are the super user of a cluster that has users. They guard a broker on the loopback interface that lives
// as long as a test.
const (
	AdminUser     = "admin"
	AdminPassword = "admin-of-a-test-broker"
)

// ports are the listeners of one node: for clients, for the other brokers, for the controller quorum.
type ports struct{ client, broker, controller int }

// properties returns the server.properties of a node. Extra properties of the configuration win.
func (cfg KafkaConfig) properties(node int, dir string, all []ports) string {
	own := all[node]
	voters := make([]string, len(all))
	for i, p := range all {
		voters[i] = fmt.Sprintf("%d@127.0.0.1:%d", i+1, p.controller)
	}
	advertised := fmt.Sprintf("127.0.0.1:%d", own.client)
	if cfg.Advertise != "" && node == 0 {
		advertised = cfg.Advertise
	}
	clientProtocol := "PLAINTEXT"
	if cfg.secured() {
		clientProtocol = "SASL_PLAINTEXT"
	}
	replication, minISR := "1", "1"
	if len(all) >= 3 {
		replication, minISR = "3", "2"
	}
	props := map[string]string{
		"process.roles":             "broker,controller",
		"node.id":                   fmt.Sprint(node + 1),
		"controller.quorum.voters":  strings.Join(voters, ","),
		"controller.listener.names": "CONTROLLER",
		"listeners": fmt.Sprintf("CLIENT://127.0.0.1:%d,BROKER://127.0.0.1:%d,CONTROLLER://127.0.0.1:%d",
			own.client, own.broker, own.controller),
		"advertised.listeners":           fmt.Sprintf("CLIENT://%s,BROKER://127.0.0.1:%d", advertised, own.broker),
		"listener.security.protocol.map": "CLIENT:" + clientProtocol + ",BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
		"inter.broker.listener.name":     "BROKER",
		"log.dirs":                       dir,

		"auto.create.topics.enable":                "false",
		"group.initial.rebalance.delay.ms":         "0",
		"offsets.topic.num.partitions":             "8",
		"transaction.state.log.num.partitions":     "8",
		"offsets.topic.replication.factor":         replication,
		"transaction.state.log.replication.factor": replication,
		"transaction.state.log.min.isr":            minISR,
		"default.replication.factor":               replication,
		// A killed broker's partitions are without a leader for this long; the default of 9 s would only slow the tests down.
		"broker.session.timeout.ms":      "3000",
		"broker.heartbeat.interval.ms":   "500",
		"num.network.threads":            "2",
		"num.io.threads":                 "4",
		"log.cleaner.dedupe.buffer.size": "16777216",
		// 3.9 has share groups as a preview that makes topics of its own when asked; 4.x creates them lazily as well.
		"share.coordinator.state.topic.num.partitions":     "1",
		"share.coordinator.state.topic.replication.factor": replication,
		"share.coordinator.state.topic.min.isr":            minISR,
	}
	maps.Copy(props, cfg.saslProperties())
	maps.Copy(props, cfg.Properties)
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(props)) {
		fmt.Fprintf(&b, "%s=%s\n", key, props[key])
	}
	return b.String()
}

func (cfg KafkaConfig) secured() bool { return cfg.ACL || len(cfg.Users) > 0 }

// users returns the configured users and the super user.
func (cfg KafkaConfig) users() map[string]string {
	users := map[string]string{AdminUser: AdminPassword}
	maps.Copy(users, cfg.Users)
	return users
}

// saslProperties returns what makes the client listener ask for a user. The broker and controller listeners stay open (they are on the
// loopback interface and known to nobody), so the anonymous principal there is a super user.
func (cfg KafkaConfig) saslProperties() map[string]string {
	if !cfg.secured() {
		return nil
	}
	var plain strings.Builder
	plain.WriteString("org.apache.kafka.common.security.plain.PlainLoginModule required")
	users := cfg.users()
	for _, name := range slices.Sorted(maps.Keys(users)) {
		fmt.Fprintf(&plain, " user_%s=\"%s\"", name, users[name])
	}
	plain.WriteByte(';')
	const scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
	props := map[string]string{
		"sasl.enabled.mechanisms":                             "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
		"listener.name.client.plain.sasl.jaas.config":         plain.String(),
		"listener.name.client.scram-sha-256.sasl.jaas.config": scram,
		"listener.name.client.scram-sha-512.sasl.jaas.config": scram,
	}
	if cfg.ACL {
		props["authorizer.class.name"] = "org.apache.kafka.metadata.authorizer.StandardAuthorizer"
		props["super.users"] = "User:ANONYMOUS;User:" + AdminUser
		props["allow.everyone.if.no.acl.found"] = "false"
	}
	return props
}

// formatArgs returns the arguments of the storage tool that makes a node's folder ready.
func (cfg KafkaConfig) formatArgs(clusterID, propertiesFile string) []string {
	args := []string{"kafka.tools.StorageTool", "format", "-t", clusterID, "-c", propertiesFile}
	if !cfg.secured() {
		return args
	}
	users := cfg.users()
	for _, name := range slices.Sorted(maps.Keys(users)) {
		for _, mechanism := range []string{"SCRAM-SHA-256", "SCRAM-SHA-512"} {
			args = append(args, "--add-scram", fmt.Sprintf("%s=[name=%s,password=%s]", mechanism, name, users[name]))
		}
	}
	return args
}
