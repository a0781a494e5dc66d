package wire

import (
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/retry"
)

// Parking delays: a delivery that does not fit is parked for ParkShort, and from the fifth time
// on for ParkLong.
const (
	ParkShort       = 15 * time.Second
	ParkLong        = 5 * time.Minute
	ParksBeforeLong = 4
)

// Topics are the names of Doorstep's topics under one prefix.
type Topics struct {
	Events     string
	Deliveries string
	Parked     Tier
	ParkedLong Tier
	Tiers      []Tier // one for each distinct delay, shortest first
	Suspended  string
	Attempts   string
	Notices    string
	States     string
	Webhooks   string
	Settings   string
	Jobs       string
	Quarantine string
}

// Tier is a topic whose records all wait the same time.
type Tier struct {
	Topic string
	Delay time.Duration
}

var prefixPattern = regexp.MustCompile(`^[A-Za-z0-9._-]{0,100}$`)

// NewTopics names the topics under a prefix (e.g. "doorstep.") for the tiers of a schedule.
func NewTopics(prefix string, schedule retry.Schedule) (Topics, error) {
	if !prefixPattern.MatchString(prefix) {
		return Topics{}, errors.New("topic prefix: may hold letters, digits, '.', '_' and '-', at most 100 characters")
	}
	d := prefix + "deliveries"
	t := Topics{
		Events: prefix + "events", Deliveries: d, Suspended: d + ".suspended",
		Parked:     Tier{d + ".parked", ParkShort},
		ParkedLong: Tier{d + ".parked.5m", ParkLong},
		Attempts:   prefix + "attempts", Notices: prefix + "notices", States: prefix + "states",
		Webhooks: prefix + "webhooks", Settings: prefix + "settings", Jobs: prefix + "jobs",
		Quarantine: prefix + "quarantine",
	}
	for _, delay := range schedule.Tiers() {
		t.Tiers = append(t.Tiers, Tier{d + "." + retry.TierName(delay), delay})
	}
	return t, nil
}

// Lanes are the topics that a sender reads, the immediate one first. Partition p of all of them
// belongs to one sender.
func (t Topics) Lanes() []string {
	lanes := []string{t.Deliveries, t.Parked.Topic, t.ParkedLong.Topic}
	for _, tier := range t.Tiers {
		lanes = append(lanes, tier.Topic)
	}
	return lanes
}

// Tier is the topic of a delay.
func (t Topics) Tier(delay time.Duration) (string, error) {
	for _, tier := range t.Tiers {
		if tier.Delay == delay {
			return tier.Topic, nil
		}
	}
	return "", fmt.Errorf("no tier of %s", delay)
}

// Park is the tier that takes a delivery which has been parked that many times since its last attempt.
func (t Topics) Park(timesParked int) Tier {
	if timesParked < ParksBeforeLong {
		return t.Parked
	}
	return t.ParkedLong
}
