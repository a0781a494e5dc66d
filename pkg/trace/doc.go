// Package trace follows an event from the producer's call to the POST, by OpenTelemetry.
//
// # What is traced
//
//	doorstep.v1.IngestService/Publish    SERVER    a call that publishes; of REST: "POST /api/v1/events", and all other routes
//	  send doorstep.events               PRODUCER  an event, from its arrival until the log has it
//	    process doorstep.events          CONSUMER  the same event in the matcher, until its transaction has ended
//	      POST                           CLIENT    an attempt of a delivery that the event became; one for each webhook and try
//	      POST                                     the second attempt, a minute later
//
// The context travels as a W3C traceparent: from the producer in gRPC metadata or in the header of that name, in the field
// trace_context of the records of events, deliveries and attempts, and on to the receiver where the sender is told to
// (DOORSTEP_SENDER_TRACEPARENT). A delivery keeps it through retry tiers, parking, suspension, release, resend and recover: so
// what is sent again a day later is in the trace of its event. A tracestate is not carried.
//
// # One event, many deliveries
//
// The attempts are children of the matcher's span and not linked to it, although an event may go to many webhooks and a
// retry comes an hour later: who looks for an event finds all that became of it in one trace, by the id that the
// producer knows, and what is sampled is sampled whole. The price is bounded: deliveries of an event that goes to more than
// MaxTracedDeliveries webhooks carry the context unsampled, and the trace ends with the matcher's span, which says how many
// there are. Events of one stream are children of the stream's call if that has a context; each begins a trace of its own
// otherwise. Collectors that decide by a trace's tail have decided before a late retry comes.
//
// What reads or writes many records at once (recorder, notifier, outbox) has no spans: its lag is a metric.
//
// # Attributes
//
// Names are those of OpenTelemetry's semantic conventions for messaging (Kafka), RPC and HTTP, and beside them
//
//	doorstep.tenant, doorstep.event.id, doorstep.event.type              of every span of an event
//	doorstep.deliveries, doorstep.duplicate                              of the matcher's
//	doorstep.webhook.id, doorstep.delivery.id, doorstep.run.cause,
//	doorstep.attempt, doorstep.status, doorstep.lane                     of an attempt
//
// What went wrong is in error.type, one of few words: a status, or a code that metrics have too. Calls and requests that are refused
// for what they ask are no faults of the server's spans, as the conventions have it; the producer's span of the event has one.
//
// Never in a span: a secret, a key, an event's data or attributes, a body, a header's value, what a receiver answered, and of a URL
// more than host and port, since paths and queries hold tokens: url.full and url.path, which the conventions want, are left out.
//
// # What it costs
//
// Off, which it is unless OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is set, a *Tracer is nil: its methods
// look at that and return; contexts travel all the same. On, spans wait in a queue of 2,048 (OTEL_BSP_MAX_QUEUE_SIZE) and are dropped beyond
// that, as while the collector is away: nothing ever waits for a collector but the end of the process, for a second at most.
// What was sent and what was dropped is counted (doorstep_spans_total). Every event is sampled whose producer's call is, and
// every one whose call has no context: OTEL_TRACES_SAMPLER=parentbased_traceidratio with OTEL_TRACES_SAMPLER_ARG samples fewer.
package trace
