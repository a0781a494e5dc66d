package sqlhistory

import "github.com/doorstep-dev/doorstep/pkg/history"

// EncodeDetail and DecodeDetail are the column detail of an attempt.
func EncodeDetail(a history.Attempt) string { return encodeDetail(a) }

// DecodeDetail sets what the column says.
func DecodeDetail(text string, a *history.Attempt) error { return detailOf{a}.Scan(text) }
