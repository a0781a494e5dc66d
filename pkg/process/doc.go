// Package process runs a program made of named components and stops it in order.
//
// Components start together. The first SIGINT or SIGTERM, or the first error, stops them stage
// by stage, the highest stage first, so that what takes work in stops before what finishes it:
//
//	start:  all at once
//	stop:   stage 3 ──▶ stage 2 ──▶ stage 1      each waits for the one before it
//	        └────────── grace in all ─────────┘
//
// A second signal ends the wait at once. Beside this the package holds the HTTP endpoints that
// every process serves (/healthz, /readyz, /metrics; /debug/pprof on loopback) and the one way to listen.
package process
