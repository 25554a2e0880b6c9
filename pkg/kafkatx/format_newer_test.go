//go:build integration && newerformat

package kafkatx

// newestFormat is that of the newer build, which TestKafkaUpgrade makes.
const newestFormat = 2
