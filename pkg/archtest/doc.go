// Package archtest holds the structure of the code to what ARCHITECTURE.md says: which package may
// import which, which are pure, and that each says what it is for. It has only tests; they run with
// -count=1, since the test cache does not see other modules.
package archtest
