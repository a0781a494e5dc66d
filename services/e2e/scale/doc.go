// Package scale runs senders, a process each, on a log that it fills, and counts every POST at the receiver:
//
//   - scaling: from one sender to six and back under load, nothing is lost, nothing is POSTed twice, a webhook never
//     has two senders, retries keep their times, and no more partitions move than must; with senders that are kept
//     busy, the rate follows their number.
//   - a head that is stuck: with a million deliveries finished behind one that is not, or a thousand that are not,
//     kill -9 repeats what was in flight and what finished since the last commit, and loses nothing.
//   - a metric decides: senders go 1, 3, 1 as an autoscaler that sums doorstep_sender_required_replicas has it, beside receivers
//     that hang throughout; every delivery is received once.
//   - memory: a million deliveries that wait, most of them for receivers that hang, fit into 300 MiB, cost a
//     bounded number of rewrites, and hold up nobody else.
//
// It runs on the Kafka and Redis that TEST_KAFKA and TEST_REDIS name, else on embedded ones. SCALE_TIME=full makes it
// the real thing, half an hour on servers of its own if none are named; SCALE_RECORDS says how many deliveries finish
// behind the head and how many wait in memory's test, SCALE_PROGRAM names a build of the program to try, SCALE_LOGS a
// directory for the senders' logs.
package scale
