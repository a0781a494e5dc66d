package delivery

// Headers that Doorstep adds beside those of Standard Webhooks. They are the same at every attempt.
const (
	HeaderEventType = "Doorstep-Event-Type"
	HeaderEventID   = "Doorstep-Event-Id"
	HeaderTest      = "Doorstep-Test" // true: a test, whose event never happened
)
