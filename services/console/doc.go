// Package console is Doorstep's side for people and their programs: the REST API, the web pages under
// /console/ (web*.go; forms only, no script), which do the same by the same methods, and the outbox that
// carries what they register from SQL into the log.
//
//	REST ──▶ SQL (webhook and its outbox row, one transaction) ──drainer──▶ [webhooks] [settings]
//	REST POST /events ──▶ [events]
//	[settings] [states] ──▶ REST (is the type known, does the webhook fail)
//	history, [events] and [deliveries] by position ──▶ REST (what became of it, with what bytes)
//	REST POST /deliveries/{id}/resend ──▶ [deliveries]
//	REST release, discard, resume ──▶ SQL (job) ──worker, history──▶ [deliveries] [attempts], in one transaction
//	history (suspended deliveries that expire within a week) ──▶ [notices]
//
// It promises that what commits in SQL reaches the topics within a second, in order per webhook, and
// what rolls back never does: rows of the outbox are deleted only once their records are committed
// in the log, and one drainer works at a time. At start everything is written to the topics again.
//
// Suspended deliveries are released or discarded by jobs, each delivery once: jobs says how.
//
// What is secret of a webhook, its signing keys and the values of its headers, is sealed before it is stored, if there is
// a sealing key (secrets.go), and what was stored before is sealed with the key in force after each start (reseal.go).
// What cannot be read for want of a key is left out, and stays as it is until it is replaced.
//
// The history is shown as the recorder has written it, and payloads as the log holds them, for as long as
// it does. Nothing else waits for the history.
//
// Without SQL nothing can be registered, but events are taken; without the log it is the other way
// round, and what was registered follows when the log is back.
package console
