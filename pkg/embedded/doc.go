// Package embedded runs the three stores inside the process: a Kafka-protocol log (kfake, franz-go's
// in-process broker), Redis (miniredis) and the place of the SQLite file. It is for one node,
// evaluation and small installs.
//
// The adapters of the product speak the wire protocols, so nothing else knows that a store is
// embedded. What the embedded servers do not do by themselves, this package does:
//
//	data directory   created 0700, locked against a second process, stamped with its format; refused, before anything is
//	                 written to it, if it is newer, something else's, or lacks a database that it had
//	miniredis        its clock is advanced each second, else no key would ever expire
//	disk guard       Room and RoomToMatch err below 256 MiB of free disk
//	log bound        the log stays within LogMaxBytes: what every group has committed is trimmed,
//	                 oldest first; when that is not enough Room errs and publishing waits
//	compaction       of compacted topics, and retention by time, in a way that survives kill -9
//	high watermarks  of emptied partitions, which the broker forgets at a restart
//	gate             no request that writes to the log passes below 16 MiB of free disk, or 64 files: clients try again
//	failed writes    the first one stops the broker where it is, and Run errs: see gate.go
//	mending          of what a crash or a bad disk has left in the log's files, by package logfiles, before the broker starts
//
// Trimming wins over keeping: the last 24 hours of events, from which the matcher refills its
// memory of seen event ids at a start, and payloads that the history points at go when the bound
// needs their room. Nothing that a reader has not yet committed is ever trimmed, nor anything of the topics
// that Config.Kept names: when only such is left, publishing waits.
//
// The log directory holds kfake's own files. Facts of it, found in the pinned version and held by tests here,
// that shape this package (those about damage are in package logfiles):
//
//   - DeleteRecords frees disk by whole segment files only, the open one included once all of it
//     lies behind. Segments are therefore small (a 64th of the bound) and trimming goes by segments.
//   - A partition without any segment restarts at offset 0, before its readers' commits. Its high
//     watermark is thus written down before it may become empty, and put back before the broker starts.
//   - Compaction removes a partition's files before it writes the new ones, takes no account of
//     time (its own timer does not start again after a restart), and applies the broker's default
//     retention of 7 days to compacted topics too. So that default is off, compaction is called
//     from here, and hard links keep the old files until it is over.
//   - After a write that failed it goes on: a transaction whose end mark is not on the disk is told to be committed, and
//     its offsets are written after that, so that a crash loses its records; a retried batch that was never
//     written counts as a duplicate; a journal is appended to behind half an entry.
//   - A listener that cannot accept for want of open files is closed for good. So is miniredis's.
package embedded
