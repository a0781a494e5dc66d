// Package logfiles reads the files of the embedded log, and mends them before the broker starts.
//
// The files are kfake's: under partitions/ a directory for each partition with segments of Kafka
// record batches (BASE.dat), an index beside each (BASE.idx), and a snapshot; above them the topics,
// the groups' and the producers' journals, and state in JSON. What a kill, a power cut or a bad
// disk may leave there, kfake partly mends by itself, but in ways that lose what is still readable or say
// nothing (found in the pinned version and held by tests here):
//
//   - From the first damaged batch on it cuts a segment off, with all that follows in that file.
//   - A batch's offset and epoch are outside of its checksum, and taken as they are.
//   - An index entry that was cut shifts all that are appended after it; then transactions that were
//     aborted count as committed.
//   - A journal is read up to its first damaged entry: readers' places go back to that moment.
//   - Without meta.json or topics.json it starts an empty log over the old files.
//   - A partition whose last files are gone goes back to a lower offset, and gives numbers out again.
//
// Mend does away with all of these. What is lost stays visible: the hole in a partition is filled by a mark that
// readers pass over, so that no offset is ever given out twice, and told by how many records it held.
package logfiles
