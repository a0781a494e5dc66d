package kafka

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestPulse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p Pulse
		answer := func(key kmsg.Key, after time.Duration, err error) {
			p.OnBrokerE2E(kgo.BrokerMetadata{}, int16(key), kgo.BrokerE2E{ReadWait: after, ReadErr: err})
		}
		want := func(what string, sure bool) {
			t.Helper()
			if p.sure(time.Now()) != sure {
				t.Errorf("%s: sure is %t", what, !sure)
			}
		}
		want("nothing heard", false)
		answer(kmsg.JoinGroup, time.Minute, nil)
		answer(kmsg.SyncGroup, 0, nil)
		want("joined", true)
		wait(t.Context(), sureFor-time.Millisecond)
		want("about to doubt", true)
		answer(kmsg.Heartbeat, time.Second, nil) // sent a second ago
		wait(t.Context(), sureFor-time.Second)
		want("what counts is when it was sent", false)
		answer(kmsg.Heartbeat, 0, errors.New("cut off"))
		answer(kmsg.Fetch, 0, nil)
		want("not an answer of the group", false)
		answer(kmsg.Heartbeat, 0, nil)
		want("a late answer may put us out", false)
		wait(t.Context(), time.Second)
		answer(kmsg.Heartbeat, 0, nil)
		want("the second was not that", true)
		wait(t.Context(), sureFor)
		answer(kmsg.Heartbeat, 0, nil)
		answer(kmsg.JoinGroup, 0, nil)
		want("joined anew", true)
		wait(t.Context(), sureFor)
		want("an answer that does not come, to a request to join as well", false)
	})
}

func TestPulseSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p Pulse
		want := func(what string, silent bool) {
			t.Helper()
			if err := p.Silent(time.Now()); (err != nil) != silent {
				t.Errorf("%s: %v", what, err)
			}
		}
		want("nothing heard", false)
		p.OnBrokerE2E(kgo.BrokerMetadata{}, int16(kmsg.JoinGroup), kgo.BrokerE2E{})
		wait(t.Context(), SessionTimeout-time.Millisecond)
		want("still counted in", false)
		wait(t.Context(), time.Millisecond)
		want("no longer", true)
		p.OnBrokerE2E(kgo.BrokerMetadata{}, int16(kmsg.Heartbeat), kgo.BrokerE2E{ReadErr: errors.New("cut off")})
		want("not an answer", true)
		p.OnBrokerE2E(kgo.BrokerMetadata{}, int16(kmsg.Heartbeat), kgo.BrokerE2E{})
		want("heard again", false)
	})
}
