// Package doorstepv1 is the contract: the gRPC service that takes events in, and the values of
// Doorstep's Kafka records. Everything but this file is generated from the .proto files beside it
// (make proto). Producers import this module and nothing else of Doorstep.
package doorstepv1
