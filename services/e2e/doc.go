// Package e2e tests Doorstep as its users see it: events in over gRPC, webhooks registered over
// REST, POSTs counted by receivers of their own. The same tests can run on the program in process,
// as a process of its own, and on real servers (see world in world_test.go).
package e2e
