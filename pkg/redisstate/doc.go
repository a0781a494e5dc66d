// Package redisstate keeps in Redis what Doorstep shares between processes and can do without for
// a while: failure states, the ids of events seen and which mails are sent. It speaks to Redis 7 and to miniredis.
//
// Nothing here is the truth: states also stand in their topic, and the log has every event and what came
// of every mail. So a Redis that is away costs little time (see Client) and its callers go on without it.
//
// Keys, each under Config.Prefix:
//
//	state:WEBHOOK-ID        the webhook's failure.State as a StateRecord; no expiry
//	seen:TENANT/EVENT-ID    where the event was first seen in the log; 24 h
//	mailed:MAILED-ID        who sends the mail, 2 min; then what came of it, 8 d
//	rate:NAME               when a rate limit is full again, Unix microseconds; until then
package redisstate
