// Package acls runs Doorstep, a process and a user for each service, on an Apache Kafka of its own that allows what
// `doorstep topics acls` prints and nothing else.
//
// What the broker notes of each question to its authorizer says whether the list is enough, nothing is denied, and whether
// it is the least: each of its ACLs was what allowed something. Then ACLs are taken away, and the services must say what
// they lack, be not ready, and go on by themselves once they have it again.
//
// It needs the jars of Kafka, and the Redis and PostgreSQL that TEST_REDIS and TEST_POSTGRES name.
package acls
