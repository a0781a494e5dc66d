package e2e

import (
	"os"
	"slices"
	"sync"
	"testing"
)

// A Doorstep with everything configured, at log level debug, does everything that it can, well and badly. What was
// planted in it is looked for in all that it shows and keeps: every value may be where the table in plan says, and
// nowhere else, in no encoding.
//
// It is not parallel: where spans go is said by the environment.
func TestThePlantedStaysWhereItBelongs(t *testing.T) {
	p := plan(true)
	var h *house
	switch os.Getenv("E2E_RUNNER") {
	case "":
		h = embeddedHouse(t, p)
	case "processes":
		h = processHouse(t, p)
	default:
		t.Skip("this Doorstep is not ours to look into")
	}
	drive(h)
	h.gather()
	judge(t, h)
}

// judge searches all evidence, each part beside the others.
func judge(t *testing.T, h *house) {
	t.Helper()
	size, byPlace := 0, map[string]int{}
	for _, e := range h.all {
		size += len(e.content)
		byPlace[e.place]++
	}
	seen := map[string]int{}
	var leaks []leak
	var mu sync.Mutex
	var parts sync.WaitGroup
	for part := range slices.Chunk(h.all, max(1, len(h.all)/8)) {
		parts.Go(func() {
			l, s := search(h.p.values, part)
			mu.Lock()
			defer mu.Unlock()
			leaks = append(leaks, l...)
			for k, n := range s {
				seen[k] += n
			}
		})
	}
	parts.Wait()
	t.Logf("%d values looked for in %d pieces of %d kinds of places, %d bytes", len(h.p.values), len(h.all), len(byPlace), size)
	told := map[string]bool{}
	for _, l := range leaks {
		if is := l.value + l.place + l.encoding; !told[is] {
			told[is] = true
			t.Error(l)
		}
	}
	// What is nowhere at all was not planted, and then the suite proves nothing.
	for _, v := range h.p.values {
		found := 0
		for k, n := range seen {
			if len(k) > len(v.name) && k[:len(v.name)] == v.name {
				found += n
			}
		}
		if len(v.may) > 0 && found == 0 {
			t.Errorf("%s was found nowhere, not even where it may be", v.name)
		}
	}
	for _, place := range []string{"log", "admin/GET metrics", "mail", "redis", "topic/attempts", "topic/settings", "spans", "sql/attempts/detail", "grpc/Publish"} {
		if byPlace[place] == 0 {
			t.Errorf("there is nothing of %s", place)
		}
	}
}
