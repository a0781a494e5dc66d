// Package upgrade replaces the processes of an older Doorstep by those of this one, under load, one after the other and in
// any order, and takes one of each service back once on the way.
//
// The older program is built from the commit that UPGRADE_FROM names, else from the latest tag before this commit, else from
// one that stands in the test; UPGRADE_PROGRAM names one that is built already. A clone that does not have the commit skips
// the test, which TEST_REQUIRE_REAL=1 allows to shallow clones only. UPGRADE_SEEDS is how many orders are tried (1), TEST_SEED
// the first of them, UPGRADE_LOGS a directory for the processes' logs.
//
// All runs on the servers that TEST_KAFKA, TEST_REDIS and TEST_POSTGRES name. Topics and tables are brought up to date
// first, by the new program, and nothing is ever killed: processes stop in good order. Then what was acknowledged must have been
// accepted by each webhook exactly once and stand in the history, and no program may have met a record that it cannot read.
package upgrade
