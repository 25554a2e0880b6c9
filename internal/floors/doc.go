// Package floors holds the rules about who may import whom, as tests: which floor a package is on, what each floor may stand on, and which
// third-party family stays behind which seam. It has no code of its own.
package floors
