// Package ingest takes domain events in over gRPC (doorstep.v1.IngestService) and writes them to the
// log.
//
// It reads the topic `settings` (API keys, tenants, catalogues), whole, before it takes the first
// event. It writes the topic `events`, and `quarantine` for settings that it cannot read. It opens
// no other store and calls no other service.
//
// It promises:
//   - An event is acknowledged once all in-sync replicas have it, and not before. What is not
//     acknowledged may be sent again under the same id and is delivered once.
//   - What is in flight is bounded, in all and per stream. A unary call or a batch is refused with
//     RESOURCE_EXHAUSTED; a stream is read more slowly instead.
//   - While Kafka is away it stays up and answers UNAVAILABLE within the publish timeout, and goes on by
//     itself once Kafka is back.
//   - A caller without a valid key costs a look into a map: it is refused before its message is read.
//   - When told to stop it takes no more, acknowledges what it has taken, and tells the producers on
//     open streams to go on elsewhere (UNAVAILABLE).
//
// No key and no payload stands in its log or its errors.
package ingest
