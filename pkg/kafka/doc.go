// Package kafka is Doorstep's use of franz-go: clients with our settings, topics made and checked,
// compacted topics followed, transactions from one topic to another, records read at positions, and the lanes that senders
// read (one owner for a partition of all lanes, commits out of order, records held until due).
//
// It knows the log, not what its records mean to a service: those decide, this reads and writes.
package kafka
