//go:build integration && !newerformat

package kafkatx

// newestFormat is the newest format of the census' state that this build knows.
const newestFormat = 1
