// Package e2e runs the real binaries, kills them, and has the topics compared with what the tenant has, record by record. Its tests take
// minutes or real brokers: make test-kafka and make long run them.
package e2e
