//go:build linux

package e2e

import (
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/doorstep-dev/doorstep/pkg/testkit"
)

// Random damage to a data directory in which deliveries are under way. The program refuses it with one line, or
// starts and takes events; and where no segment of the log was touched, everything that was acknowledged arrives.
func TestDamagedDataDirectory(t *testing.T) {
	long(t)
	base := newMachine(t, t.TempDir()+"/base", nil)
	base.up()
	r := testkit.NewReceiver(t)
	r.Set("/ok", testkit.Behaviour{Status: 500})
	base.register(r.URL+"/ok", nil)
	base.inForce()
	base.events.many(40)
	base.kill9()

	runs, err := strconv.Atoi(os.Getenv("DAMAGE_RUNS"))
	if err != nil {
		runs = 20
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	refused := 0
	for i := range runs {
		fresh := testkit.NewReceiver(t)
		m := newMachine(t, filepath.Join(t.TempDir(), "data"), nil)
		sh(t, `cp -a '%s' '%s'`, base.data, m.data)
		done := spoil(t, random, m.data)
		r.Set("/ok", testkit.Behaviour{Func: fresh.ServeHTTP})
		m.events.acked, m.events.next = map[int]bool{}, 1000*(i+1)
		if !slices.ContainsFunc(done, func(what string) bool { return strings.Contains(what, ".dat") }) {
			for n := range base.events.acked {
				m.events.acked[n] = true
			}
		}
		m.run()
		testkit.Eventually(t, patience, func() error {
			if m.hasEnded() {
				return nil
			}
			return m.ready()
		})
		if m.hasEnded() {
			refused++
			t.Logf("%v: %s", done, m.refusal())
			continue
		}
		for range 5 {
			accepted(t, m)
		}
		if webhookKnown(m) {
			m.events.arrive(fresh)
		}
		if crashed.MatchString(m.out.String()) {
			t.Errorf("%v: %s", done, m.out)
		}
		m.kill9()
		if t.Failed() {
			t.Fatalf("after %v", done)
		}
	}
	t.Logf("%d directories damaged at random, %d of them refused, the others delivered", runs, refused)
}

// webhookKnown tells whether the webhook is still registered.
func webhookKnown(m *machine) bool {
	var hooks []hook
	return m.rest("GET", "webhooks", nil, &hooks) == 200 && len(hooks) == 1
}

// spoil damages one to three files, and says what it did.
func spoil(t *testing.T, random *rand.Rand, dir string) (done []string) {
	t.Helper()
	var files []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && d.Name() != "lock" {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 1 + random.IntN(3) {
		file := files[random.IntN(len(files))]
		raw, err := os.ReadFile(file)
		if err != nil {
			continue // removed before
		}
		kind := []string{"removed", "emptied", "cut", "overwritten", "appended to"}[random.IntN(5)]
		at := random.IntN(len(raw) + 1)
		switch kind {
		case "emptied":
			raw = nil
		case "cut":
			raw = raw[:at]
		case "overwritten":
			for i := at; i < min(len(raw), at+32); i++ {
				raw[i] = byte(random.Uint32())
			}
		case "appended to":
			raw = append(raw, strings.Repeat("garbage", 4)...)
		}
		err = os.WriteFile(file, raw, 0o600)
		if kind == "removed" {
			err = os.Remove(file)
		}
		if err != nil {
			t.Fatal(err)
		}
		done = append(done, kind+" "+strings.TrimPrefix(file, dir+"/")+" at "+strconv.Itoa(at))
	}
	return done
}

// long skips a test that takes its time, unless E2E_DISK asks for it.
func long(t *testing.T) {
	t.Helper()
	if os.Getenv("E2E_DISK") == "" {
		t.Skip("E2E_DISK is not set")
	}
}
