package delivery

import "time"

// Kind says whether something was sent.
type Kind string

// The kinds.
const (
	KindPost           Kind = "post"            // a POST was made or tried
	KindDecision       Kind = "decision"        // nothing was sent: cancelled, released, discarded
	KindCapped         Kind = "capped"          // the matcher cut the event's webhooks
	KindConditionError Kind = "condition_error" // the webhook's condition could not be evaluated
)

// Attempt is one POST and what came of it, or a decision that ended a delivery without one.
type Attempt struct {
	Kind              Kind
	DeliveryID        string
	RunID             string
	Cause             Cause
	Attempt           int
	Tenant            string
	WebhookID         string
	WebhookGeneration uint64
	EventID           string
	EventType         string
	Lane              string // topic that it was read from
	ReceivedAt        time.Time
	DueAt             time.Time
	StartedAt         time.Time
	FinishedAt        time.Time
	Outcome           Outcome
	Status            Status    // of the delivery after this
	NextAttemptAt     time.Time // zero: never
	Position          Position  // of the delivery record
	Instance          string    // the sender
	Count             int       // webhooks cut, for KindCapped; failures counted under Counter, for KindConditionError
	Counter           string    // names what counts, for KindConditionError
	Condition         string    // key of the condition that failed (webhook.ConditionKey), for KindConditionError
	TraceContext      string
}

// MaxRetryAfter is the longest wait that a receiver may ask for; more is cut to it.
const MaxRetryAfter = time.Hour

// Outcome is what came of one POST.
type Outcome struct {
	URL             string
	RemoteAddress   string        // that was dialled; empty if none was
	StatusCode      int           // 0: no answer
	ErrorCode       string        // stable, e.g. "connect_timeout"; empty on success
	Error           string        // the same in words for the webhook's owner
	RetryAfter      time.Duration // asked for by a 429 or 503; 0: not
	RequestHeaders  []Header      // as sent, secret values masked
	ResponseHeaders []Header
	ResponseBody    []byte // its first bytes
	Phases          Phases
}

// OK reports whether the receiver accepted the delivery: any 2xx, completely read.
func (o Outcome) OK() bool { return o.ErrorCode == "" && o.StatusCode >= 200 && o.StatusCode <= 299 }

// Header is one HTTP header.
type Header struct{ Name, Value string }

// Phases are the parts of an attempt's time; zero where a phase did not take place.
type Phases struct {
	DNS       time.Duration
	Connect   time.Duration
	TLS       time.Duration
	FirstByte time.Duration // from the request written to the answer's first byte
	Total     time.Duration
	Reused    bool // the connection was used before
}
