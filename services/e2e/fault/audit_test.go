package fault

import (
	"fmt"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/testkit"
)

// audit waits until the recorders have read everything and has the log compared with the history.
func (w *world) audit() {
	w.t.Helper()
	began := time.Now()
	var s Summary
	var differences []string
	testkit.Eventually(w.t, healing, func() (err error) {
		if s, differences, err = Audit(w.cluster.Of("console")[0].Addr, apiKey); err == nil && s.NotRecordedYet > 0 {
			err = fmt.Errorf("%d records are not recorded yet", s.NotRecordedYet)
		}
		return err
	})
	w.t.Logf("audit, after %s: %+v", time.Since(began).Round(time.Second), s)
	for _, d := range differences[:min(len(differences), 20)] {
		w.t.Errorf("audit: %s", d)
	}
	if acks, _ := w.history.Counts(); s.Differences > 0 || s.Events < acks || s.Rows == 0 {
		w.t.Errorf("audit of %d acknowledged events: %+v", acks, s)
	}
}
