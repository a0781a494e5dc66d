// Package testkit is what tests need from the world around: a broker, a Redis, a webhook receiver,
// a network that fails, patience and chance.
//
// Servers are embedded ones, fresh for each test, unless the environment names real ones:
//
//	TEST_KAFKA            bootstrap brokers, host:port separated by commas
//	TEST_REDIS            a redis:// URL
//	TEST_POSTGRES         a postgres:// URL (read by pkg/sqlstore/sqlstoretest)
//	TEST_SMTP             a smtp:// URL, with TEST_SMTP_CA and TEST_MAIL; there is no embedded one (see SMTP)
//	TEST_REQUIRE_REAL     1: a test that wants a real server and finds none named fails
//	TEST_REQUIRE_BROWSER  1: a test that wants a browser and finds none fails
//	TEST_SEED             the seed of Random, to repeat a failure
//
// A real server is shared: work there under the test's Prefix. Which server a test ran on is in
// its log (go test -v).
package testkit
