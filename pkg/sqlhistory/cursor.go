package sqlhistory

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"

	"github.com/doorstep-dev/doorstep/pkg/sqldb"
)

// ErrCursor says that a cursor was not made by the list that it is given to, read in that direction and bound to
// the same.
var ErrCursor = errors.New("not a cursor of this list")

// The lists that have cursors.
const (
	listOfDeliveries = "deliveries"
	listOfEvents     = "events"
	listOfMails      = "mails"
)

// cursor names the row that a page ends with, by all that its list is ordered by.
type cursor struct {
	List       string `json:"list"`
	Ascending  bool   `json:"ascending,omitempty"`
	Bound      string `json:"bound,omitempty"`
	ReceivedAt int64  `json:"received_at"`
	ID         string `json:"id"`
	// Of events alone: the log may hold one id twice that was received at one time.
	Topic     string `json:"topic,omitempty"`
	Partition int64  `json:"partition,omitempty"`
	Offset    int64  `json:"offset,omitempty"`
	// Of mails, instead of ReceivedAt.
	MailedAt int64 `json:"mailed_at,omitempty"`
}

func (c cursor) String() string {
	return base64.RawURLEncoding.EncodeToString([]byte(sqldb.AsJSON(c)))
}

// after is the cursor that the page begins behind, nil at the start. It errs with ErrCursor.
func (p Page) after(list string) (*cursor, error) {
	if p.After == "" {
		return nil, nil //nolint:nilnil // no cursor is no fault
	}
	b, err := base64.RawURLEncoding.DecodeString(p.After)
	if err != nil {
		return nil, ErrCursor
	}
	var c cursor
	if err := json.Unmarshal(b, &c); err != nil || c.List != list || c.Ascending != p.Ascending || c.Bound != p.Bound ||
		strings.ContainsRune(c.ID, 0) || strings.ContainsRune(c.Topic, 0) {
		return nil, ErrCursor
	}
	return &c, nil
}

// cut shortens rows that were read with one more than the page's limit to the page, with the cursor of the
// next one, empty at the end.
func cut[T any](rows []T, p Page, at func(T) cursor) ([]T, string) {
	if len(rows) <= p.Limit {
		return rows, ""
	}
	rows = rows[:p.Limit]
	c := at(rows[len(rows)-1])
	c.Ascending, c.Bound = p.Ascending, p.Bound
	return rows, c.String()
}
