package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/doorstep-dev/doorstep/pkg/testkit"
)

func may(resource kmsg.ACLResourceType, name string, operation kmsg.ACLOperation) kfake.ACL {
	return kfake.ACL{Resource: resource, Name: name, Pattern: kmsg.ACLResourcePatternTypeLiteral, Operation: operation, Allow: true}
}

// restricted are lanes of a sender that may read `lane`, not write `out`, and what is given beside, and the administrator's
// client.
func restricted(t *testing.T, beside ...kfake.ACL) (*Lanes, *kgo.Client) {
	t.Helper()
	acls := slices.Concat(beside, []kfake.ACL{
		may(kmsg.ACLResourceTypeTopic, "lane", kmsg.ACLOperationRead), may(kmsg.ACLResourceTypeTopic, "out", kmsg.ACLOperationDescribe),
		may(kmsg.ACLResourceTypeGroup, "sender", kmsg.ACLOperationRead),
	})
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.EnableSASL(), kfake.EnableACLs(), kfake.SeedTopics(1, "lane", "out"),
		kfake.Superuser("PLAIN", "admin", "secret of admin"), kfake.User("PLAIN", "sender", "secret of sender", acls...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	as := func(user string) Config {
		return Config{Brokers: c.ListenAddrs(), Security: Security{SASL: "PLAIN", User: user, Password: "secret of " + user}}
	}
	admin, err := as("admin").NewClient("admin", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(admin.Close)
	nothing := func([]*Part) {}
	lanes, err := NewLanes(as("sender"), LanesConfig{Topics: []string{"lane"}, Group: "sender", Revoked: nothing, Released: nothing, Grace: time.Second}, testkit.Log(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(lanes.Close)
	return lanes, admin
}

// What ACLs do not allow to be written is kept, with all that comes after it, and written in its order once they do.
func TestWritesThatAreDeniedAreKept(t *testing.T) {
	t.Parallel()
	for name, beside := range map[string][]kfake.ACL{
		"another topic may be written": {may(kmsg.ACLResourceTypeTopic, "lane", kmsg.ACLOperationWrite)},
		"no topic may be written":      nil, // the client gets no producer id
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lanes, admin := restricted(t, beside...)
			deniedAreKept(t, lanes, admin)
		})
	}
}

func deniedAreKept(t *testing.T, lanes *Lanes, admin *kgo.Client) {
	t.Helper()
	const n = 20
	written := make(chan error, n)
	produce := func(i int) {
		lanes.Produce(t.Context(), &kgo.Record{Topic: "out", Value: fmt.Append(nil, i)}, func(_ *kgo.Record, err error) { written <- err })
	}
	for i := range n / 2 {
		produce(i)
	}
	testkit.Eventually(t, 10*time.Second, func() error {
		if !lanes.held() {
			return errors.New("nothing is kept")
		}
		return nil
	})
	for i := n / 2; i < n; i++ {
		produce(i)
	}
	if lanes.Sure() {
		t.Error("something may begin")
	}
	if n := len(written); n > 0 {
		t.Errorf("%d were given up: %v", n, <-written)
	}
	allow := kadm.NewACLs().Allow("User:sender").AllowHosts("*").ResourcePatternType(kadm.ACLPatternLiteral).Topics("out").Operations(kadm.OpWrite)
	if _, err := kadm.NewClient(admin).CreateACLs(t.Context(), allow); err != nil {
		t.Fatal(err)
	}
	for range n {
		select {
		case err := <-written:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(20 * time.Second):
			t.Fatal("they are not written")
		}
	}
	testkit.Eventually(t, 10*time.Second, func() error {
		if lanes.held() {
			return errors.New("something is kept still")
		}
		return nil
	})
	admin.AddConsumePartitions(map[string]map[int32]kgo.Offset{"out": {0: kgo.NewOffset().AtStart()}})
	for i := range n {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		got := admin.PollRecords(ctx, 1).Records()
		cancel()
		if len(got) != 1 || string(got[0].Value) != fmt.Sprint(i) {
			t.Fatalf("number %d: %v", i, got)
		}
	}
}

// What is kept when the lanes close is given up, each with an error.
func TestWritesThatAreDeniedEndWithTheLanes(t *testing.T) {
	t.Parallel()
	lanes, _ := restricted(t)
	written := make(chan error, 3)
	for range cap(written) {
		lanes.Produce(t.Context(), &kgo.Record{Topic: "out"}, func(_ *kgo.Record, err error) { written <- err })
	}
	testkit.Eventually(t, 10*time.Second, func() error {
		if !lanes.held() {
			return errors.New("nothing is kept")
		}
		return nil
	})
	lanes.Close()
	for range cap(written) {
		select {
		case err := <-written:
			if err == nil {
				t.Error("it is said to be written")
			}
		case <-time.After(20 * time.Second):
			t.Fatal("one is kept for ever")
		}
	}
}
