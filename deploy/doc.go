// Package deploy holds the files that run Millrace elsewhere: containers, Kubernetes, systemd. Its tests hold them against the real binaries.
package deploy
