package fault

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/testkit"
)

// summary is the last line of an audit.
type summary struct {
	Events         int `json:"events"`
	Deliveries     int `json:"deliveries"`
	Attempts       int `json:"attempts"`
	Rows           int `json:"rows"`
	NotRecordedYet int `json:"not_recorded_yet"`
	Differences    int `json:"differences"`
}

// audit waits until the recorders have read everything and has the log compared with the history.
func (w *world) audit() {
	w.t.Helper()
	began := time.Now()
	var s summary
	var differences []string
	testkit.Eventually(w.t, healing, func() (err error) {
		if s, differences, err = w.auditOnce(); err == nil && s.NotRecordedYet > 0 {
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

func (w *world) auditOnce() (s summary, differences []string, err error) {
	req, err := http.NewRequest(http.MethodGet, "http://"+w.cluster.Of("console")[0].Addr+"/api/v1/audit", nil)
	if err != nil {
		return s, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+apiKey)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return s, nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return s, nil, fmt.Errorf("audit answers %d", resp.StatusCode)
	}
	ended := false
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		var line struct {
			Kind    string   `json:"kind"`
			Summary *summary `json:"summary"`
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			continue
		}
		if line.Kind != "" {
			differences = append(differences, lines.Text())
		}
		if line.Summary != nil {
			s, ended = *line.Summary, true
		}
	}
	if !ended {
		return s, nil, fmt.Errorf("the audit did not end")
	}
	return s, differences, nil
}
