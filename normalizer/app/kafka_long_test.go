//go:build integration && long

package app_test

import (
	"testing"
	"time"
)

// TestReplicasComeAndGoEvery20s is TestReplicasComeAndGo at the pace of a deployment that scales up and down, for six minutes.
func TestReplicasComeAndGoEvery20s(t *testing.T) {
	f := newFeed(t, 3, 30_000, 10)
	replicasComeAndGo(t, f, 20*time.Second, 6*time.Minute*100/time.Duration(len(f.served)))
}
