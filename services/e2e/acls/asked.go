package acls

import (
	"bufio"
	"fmt"
	"os"
	"regexp"
	"strings"
)

// asked is one question to a broker's authorizer.
type asked struct {
	principal string // without "User:"
	operation string // as Kafka's protocol has it, e.g. "DESCRIBE_CONFIGS"
	resource  string // e.g. "Topic:LITERAL:doorstep.events"
	request   string
}

func (a asked) String() string {
	return fmt.Sprintf("%s: %s on %s, by %s", a.principal, a.operation, a.resource, a.request)
}

var askedLine = regexp.MustCompile(`Principal = User:(\S+) is (Allowed|Denied) operation = (\w+) from host = \S+ (?:on|for) resource = (\S+) for request = (\w+)`)

// readAsked reads from a broker's log, behind its first from bytes, what users asked, and returns how long the log is.
func readAsked(file string, from int64) (allowed, denied map[asked]int, size int64, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, nil, 0, err
	}
	defer f.Close()
	if _, err := f.Seek(from, 0); err != nil {
		return nil, nil, 0, err
	}
	allowed, denied = map[asked]int{}, map[asked]int{}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for size = from; lines.Scan(); size += int64(len(lines.Bytes())) + 1 {
		m := askedLine.FindStringSubmatch(lines.Text())
		if m == nil || m[1] == "ANONYMOUS" {
			continue
		}
		of := allowed
		if m[2] == "Denied" {
			of = denied
		}
		of[asked{principal: m[1], operation: m[3], resource: m[4], request: strings.TrimSpace(m[5])}]++
	}
	return allowed, denied, size, lines.Err()
}
