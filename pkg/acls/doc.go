// Package acls says what each service must be allowed to do with the log, on a Kafka whose brokers have an authorizer.
//
// Needs is the table, and the least: with every line of it all of Doorstep works, and without any one of them something
// does not. services/e2e/acls holds both on a broker, by what it logs of each thing that is asked of its authorizer.
//
// What a line allows implies Describe of the same resource, as Kafka has it. Topics, groups and the console's
// transactional ids are named in full; those of matchers begin alike and end with their instance.
package acls
