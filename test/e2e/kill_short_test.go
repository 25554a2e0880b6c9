//go:build integration && !long

package e2e

const long = false
