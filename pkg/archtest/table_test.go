package archtest

import "strings"

// Levels. A package imports only what its line allows, and never upward.
const (
	noun     = iota // the words of the product
	decision        // what follows from them
	wire            // nouns <-> Kafka records
	_
	adapter // a client of one server
	process // what services are made of
	service // one room of the flow
	whole   // all services as one
	tests   // imported by tests alone
)

// pure is the highest level without context, clock, randomness, goroutine or I/O.
const pure = decision

// line is what the table says of one package: its level and which of ours it may import, as paths
// or as the names of groups below.
type line struct {
	path  string
	level int
	may   string
}

// table has one line for each package. A package under internal/, and any other below a service,
// has its service's line.
var table = []line{
	{"proto/doorstep/v1", noun, ""},

	{"pkg/invalid", noun, ""},
	{"pkg/event", noun, "pkg/invalid"},
	{"pkg/webhook", noun, "pkg/invalid pkg/event"},
	{"pkg/tenant", noun, "pkg/invalid pkg/event pkg/webhook"},
	{"pkg/delivery", noun, "pkg/invalid pkg/event pkg/webhook"},

	{"pkg/match", decision, "nouns"},
	{"pkg/payload", decision, "nouns"},
	{"pkg/signature", decision, ""},
	{"pkg/seal", decision, "nouns"},
	{"pkg/retry", decision, "nouns"},
	{"pkg/failure", decision, "nouns"},
	{"pkg/egress", decision, "nouns"},
	{"pkg/catalogue", decision, "nouns"},
	{"pkg/lists", decision, "nouns"},
	{"pkg/schedule", decision, "nouns"},
	{"pkg/replicas", decision, ""},
	{"pkg/history", decision, "nouns pkg/failure"},

	{"pkg/wire", wire, "nouns decisions proto/doorstep/v1"},

	{"pkg/credentials", adapter, "pkg/seal"},

	{"pkg/kafka", adapter, "nouns decisions pkg/wire pkg/credentials"},
	{"pkg/acls", adapter, "pkg/wire pkg/kafka"},
	{"pkg/redisstate", adapter, "nouns decisions pkg/wire pkg/credentials"},
	{"pkg/sqldb", adapter, ""},
	{"pkg/sqlstore", adapter, "nouns decisions pkg/sqldb"},
	{"pkg/sqlhistory", adapter, "nouns decisions pkg/history pkg/sqldb"},
	{"pkg/post", adapter, "nouns decisions"},
	{"pkg/mail", adapter, "nouns decisions pkg/credentials"},

	{"pkg/process", process, ""},
	{"pkg/obs", process, ""},
	{"pkg/embedded", process, "pkg/embedded/logfiles"},
	{"pkg/embedded/logfiles", process, ""},
	{"pkg/auth", process, "nouns"},
	{"pkg/registry", process, "nouns decisions pkg/wire pkg/kafka pkg/auth"},
	{"pkg/trace", process, "nouns pkg/obs"},
	{"pkg/publish", process, "nouns decisions pkg/wire pkg/kafka pkg/auth pkg/registry pkg/obs pkg/trace"},
	{"pkg/quarantine", process, "nouns pkg/wire pkg/kafka pkg/obs"},

	{"proto/producer", service, "proto/doorstep/v1"}, // for who publishes: no other room of ours does over gRPC
	{"services/ingest", service, "shared"},
	{"services/matcher", service, "shared"},
	{"services/sender", service, "shared"},
	{"services/recorder", service, "shared"},
	{"services/notifier", service, "shared"},
	{"services/console", service, "shared"},

	{"services/doorstep", whole, "shared services services/doorstep"},
	{"services/e2e", whole, "shared services services/doorstep services/e2e tests"},

	{"helm", tests, ""}, // the chart's

	{"pkg/testkit", tests, ""},
	{"pkg/testkit/hostile", tests, "pkg/testkit"},
	{"pkg/archtest", tests, ""},
	{"pkg/failure/failuretest", tests, "nouns pkg/failure"},
	{"pkg/sqldb/sqldbtest", tests, "pkg/sqldb"},
	{"pkg/sqlstore/sqlstoretest", tests, "nouns decisions pkg/sqldb pkg/sqlstore"},
	{"pkg/sqlhistory/sqlhistorytest", tests, "nouns decisions pkg/history pkg/sqldb pkg/sqlhistory"},
}

// groups are the names that a line may use for several packages.
var groups = map[string]func(line) bool{
	"nouns":     func(l line) bool { return l.level == noun && strings.HasPrefix(l.path, "pkg/") },
	"decisions": func(l line) bool { return l.level == decision },
	"shared":    func(l line) bool { return l.level < service },
	"services":  func(l line) bool { return l.level == service },
	"tests":     func(l line) bool { return l.level == tests },
}

// lineOf is the line of a package, by its path within the product.
func lineOf(path string) (line, bool) {
	for _, l := range table {
		if path == l.path || l.level >= service && l.level <= whole && strings.HasPrefix(path, l.path+"/") {
			return l, true
		}
	}
	return line{}, false
}

// allows tells whether a package of this line may import another of ours.
func (l line) allows(to line) bool {
	if to.path == l.path {
		return true // packages below one service
	}
	for name := range strings.FieldsSeq(l.may) {
		if in := groups[name]; name == to.path || in != nil && in(to) {
			return true
		}
	}
	return false
}

// impure are imports that a pure package may not have, and impureCalls what it may not use of
// packages that it may: the clock, timers, ids made at random, and HTTP other than its words.
var impure = []string{
	"context", "os", "os/exec", "os/signal", "syscall", "net", "database/sql",
	"math/rand", "math/rand/v2", "crypto/rand", "log", "log/slog",
}

// excepted are impure imports that a pure package has all the same, by package.
var excepted = map[string][]string{
	"pkg/failure": {"context"}, // its port Store, whose adapters do I/O
}

var impureCalls = map[string][]string{
	"time": {"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTicker", "NewTimer"},
	"http": {"Client", "DefaultClient", "DefaultTransport", "Get", "Head", "ListenAndServe", "NewRequest",
		"NewRequestWithContext", "Post", "PostForm", "Server", "Transport"},
	"uuid": {"New", "NewString", "NewRandom", "NewUUID", "NewV6", "NewV7"},
}
