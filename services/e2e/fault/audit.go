package fault

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
)

// Summary is the last line of an audit.
type Summary struct {
	Events         int `json:"events"`
	Deliveries     int `json:"deliveries"`
	Attempts       int `json:"attempts"`
	Rows           int `json:"rows"`
	NotRecordedYet int `json:"not_recorded_yet"`
	Differences    int `json:"differences"`
}

// Audit has a console compare the log with the history. addr is its host:port, key an API key; each difference is a line
// of JSON.
func Audit(addr, key string) (s Summary, differences []string, err error) {
	req, err := http.NewRequest(http.MethodGet, "http://"+addr+"/api/v1/audit", nil)
	if err != nil {
		return s, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+key)
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
			Summary *Summary `json:"summary"`
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
