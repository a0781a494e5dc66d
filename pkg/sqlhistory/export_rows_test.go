package sqlhistory

import (
	"encoding/json"

	"github.com/doorstep-dev/doorstep/pkg/history"
)

// EncodeDetail and DecodeDetail are the column detail of an attempt.
func EncodeDetail(a history.Attempt) string { return encodeDetail(&a) }

// DecodeDetail sets what the column says.
func DecodeDetail(text string, a *history.Attempt) error { return detailOf{a}.Scan(text) }

// DetailAsJSON is what encoding/json makes of a column.
func DetailAsJSON(text string) (string, error) {
	var d detail
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		return "", err
	}
	b, err := json.Marshal(d)
	return string(b), err
}
