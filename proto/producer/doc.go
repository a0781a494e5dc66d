// Package producer publishes events to Doorstep over gRPC. It needs grpc and protobuf and nothing else.
//
// A Client publishes one event at a time and waits for its acknowledgement (Publish), or many at once (NewStream, Stream.Send):
// several a message, with a bounded number under way, an outcome for each.
//
// Every event has an id, its own or one that is assigned here, and whatever is sent again is sent under the same id: Doorstep
// delivers an id once within 24 hours. So nothing is lost and nothing is delivered twice while a server is restarted, a
// connection breaks or there is no room for a while. What could not be settled in time ends with ErrUnacknowledged: it may have been
// taken, and may be published again with the id that the outcome names.
//
// A stream's events reach the log in the order in which they were sent: what a connection that broke left unacknowledged is sent
// again, in order, before anything newer. One event that the server refuses for the moment (no room, Kafka away) comes after those
// that were under way with it.
//
// An event must not be changed until its outcome is known.
package producer
