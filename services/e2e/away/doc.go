// Package away runs Doorstep as a process for each service on Apache Kafka, Redis, PostgreSQL and Exim, with a
// network of its own between every process and every store, under load, and takes the stores away: stopped, killed,
// emptied, full, slow, hanging, refusing, for all services or for one. It measures what went on meanwhile, what waited, and
// how long it took until everything had caught up, and holds that against the promises: deliveries need only Kafka,
// nothing acknowledged is lost, nothing is counted, mailed or (within the stated bounds) sent twice, and no process
// ends or needs a restart.
//
// TestAway prints a table. It takes about a minute; AWAY_TIME=full takes every store from every service, for as long
// as a real outage lasts, and about an hour.
package away
