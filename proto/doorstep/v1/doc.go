// Package doorstepv1 is the contract: the gRPC service that takes events in, and the values of
// the Kafka records. Producers import this module and nothing else of Doorstep. All other Go
// files here come from the .proto files beside them (make proto).
package doorstepv1
