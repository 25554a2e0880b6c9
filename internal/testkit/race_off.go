//go:build !race

package testkit

// Race tells whether the race detector is on. It makes pools forget at random, so ceilings on allocations hold only without it.
const Race = false
