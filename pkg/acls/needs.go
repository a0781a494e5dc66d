package acls

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// The services that talk to Kafka, as the command line calls them. Topics is `doorstep topics apply` and `check`.
const (
	Ingest   = "ingest"
	Matcher  = "matcher"
	Sender   = "sender"
	Recorder = "recorder"
	Notifier = "notifier"
	Console  = "console"
	Topics   = "topics"
)

// Services are all of them.
func Services() []string {
	return []string{Ingest, Matcher, Sender, Recorder, Notifier, Console, Topics}
}

// Resource is what is acted on.
type Resource struct {
	Type     kmsg.ACLResourceType
	Name     string
	Prefixed bool // all whose names begin so
}

// Need is what a service must be allowed to do with a resource, and why.
type Need struct {
	Service    string
	Resource   Resource
	Operations []kmsg.ACLOperation
	Why        string
	// Hanging says that it serves only the look for transactions that hang (kafka.EndHanging): without it they are not
	// found, and nothing else changes.
	Hanging bool
}

// Needs are the needs of all services under these settings.
func Needs(cfg kafka.Config) ([]Need, error) {
	t, err := cfg.Topics()
	if err != nil {
		return nil, fmt.Errorf("acls: %w", err)
	}
	var all []Need
	for _, of := range []func(string, wire.Topics) needs{ingest, matcher, sender, recorder, notifier, console, topics} {
		all = append(all, of(cfg.TopicPrefix, t)...)
	}
	return all, nil
}

const (
	read            = kmsg.ACLOperationRead
	write           = kmsg.ACLOperationWrite
	create          = kmsg.ACLOperationCreate
	alter           = kmsg.ACLOperationAlter
	describe        = kmsg.ACLOperationDescribe
	describeConfigs = kmsg.ACLOperationDescribeConfigs
	clusterAction   = kmsg.ACLOperationClusterAction
)

// ClusterName is the name of the only resource of type cluster.
const ClusterName = "kafka-cluster"

func ingest(_ string, t wire.Topics) needs {
	n := needs{}
	n.topic("what producers send", []string{t.Events}, write)
	n.topic("API keys, tenants and event types", []string{t.Settings}, read)
	n.topic("records that cannot be read", []string{t.Quarantine}, write)
	return n.of(Ingest)
}

func matcher(prefix string, t wire.Topics) needs {
	n := needs{}
	n.topic("events to match", []string{t.Events}, read)
	n.group("its seat, and the offsets of what is matched", prefix+Matcher, read)
	n.transactions("deliveries and offsets in one transaction, for each instance", prefix+Matcher+".", true)
	n.topic("what events are matched by", []string{t.Webhooks, t.Settings, t.States}, read)
	n.topic("deliveries", []string{t.Deliveries}, write)
	n.topic("deliveries of disabled and paused webhooks", []string{t.Suspended}, write)
	n.topic("what was capped, conditions that fail", []string{t.Attempts}, write)
	n.topic("records that cannot be read", []string{t.Quarantine}, write)
	n.hanging([]string{t.Deliveries, t.Suspended, t.Attempts, t.Quarantine})
	return n.of(Matcher)
}

func sender(prefix string, t wire.Topics) needs {
	lanes := t.Lanes()
	n := needs{}
	n.topic("deliveries to send", lanes[:1], read)
	n.topic("deliveries that wait for a retry or are parked", lanes[1:], read, write)
	n.group("its seat, and the offsets of what is sent", prefix+Sender, read)
	n.topic("URLs, secrets and policy", []string{t.Webhooks, t.Settings}, read)
	n.topic("failure states, its own and those of the sender before it", []string{t.States}, read, write)
	n.topic("attempts", []string{t.Attempts}, write)
	n.topic("what administrators are told", []string{t.Notices}, write)
	n.topic("deliveries of disabled and paused webhooks", []string{t.Suspended}, write)
	n.topic("records that cannot be read", []string{t.Quarantine}, write)
	return n.of(Sender)
}

func recorder(prefix string, t wire.Topics) needs {
	n := needs{}
	n.topic("what the history is made of", []string{t.Events, t.Deliveries, t.Suspended, t.Attempts, t.Notices, t.States}, read)
	n.topic("what cannot be read, by others and by itself", []string{t.Quarantine}, read, write)
	n.group("its seat, and the offsets of what is recorded", prefix+Recorder, read)
	return n.of(Recorder)
}

func notifier(prefix string, t wire.Topics) needs {
	n := needs{}
	n.topic("what administrators are told, and what they were told", []string{t.Notices}, read, write)
	n.group("its seat, and the offsets of what is mailed", prefix+Notifier, read)
	n.topic("administrators, webhooks and their states", []string{t.Settings, t.Webhooks, t.States}, read)
	n.topic("how many deliveries wait", []string{t.Suspended}, read)
	n.topic("records that cannot be read", []string{t.Quarantine}, write)
	return n.of(Notifier)
}

func console(prefix string, t wire.Topics) needs {
	n := needs{}
	n.topic("changes of webhooks", []string{t.Webhooks}, write)
	n.topic("changes of API keys, tenants, administrators and event types", []string{t.Settings}, read, write)
	n.transactions("changes in the order of the database, by one console", prefix+"outbox", false)
	n.transactions("jobs, by one console", prefix+"jobs", false)
	n.topic("events over REST, and their payloads", []string{t.Events}, read, write)
	n.topic("resends, tests, releases and recovers; payloads", []string{t.Deliveries}, read, write)
	n.topic("releases and their payloads", []string{t.Suspended}, read)
	n.topic("tail and tests; what was released or discarded", []string{t.Attempts}, read, write)
	n.topic("how long a payload that is gone was kept", []string{t.Deliveries, t.Suspended}, describeConfigs)
	n.topic("failure states", []string{t.States}, read)
	n.topic("notices of what expires", []string{t.Notices}, write)
	n.topic("records that cannot be read", []string{t.Quarantine}, write)
	n.group("how far the history is, for an audit", prefix+Recorder, describe)
	n.hanging([]string{t.Webhooks})
	return n.of(Console)
}

func topics(_ string, t wire.Topics) needs {
	n := needs{}
	partitioned, single := kafka.TopicNames(t)
	n.topic("create, add partitions, and check", partitioned, create, alter, describeConfigs)
	n.topic("create and check", single, create, describe, describeConfigs)
	return n.of(Topics)
}

// needs is a list of them under way.
type needs []Need

func (n *needs) topic(why string, names []string, operations ...kmsg.ACLOperation) {
	for _, name := range names {
		*n = append(*n, Need{Resource: Resource{Type: kmsg.ACLResourceTypeTopic, Name: name}, Operations: operations, Why: why})
	}
}

func (n *needs) group(why, name string, operation kmsg.ACLOperation) {
	*n = append(*n, Need{Resource: Resource{Type: kmsg.ACLResourceTypeGroup, Name: name}, Operations: []kmsg.ACLOperation{operation}, Why: why})
}

func (n *needs) transactions(why, id string, prefixed bool) {
	of := Resource{Type: kmsg.ACLResourceTypeTransactionalId, Name: id, Prefixed: prefixed}
	*n = append(*n, Need{Resource: of, Operations: []kmsg.ACLOperation{write}, Why: why})
}

// hanging is what the look for transactions that hang needs beside, to see what stands open in topics and to end it.
func (n *needs) hanging(topics []string) {
	from := len(*n)
	n.topic("see what hangs there", append(topics, kafka.OffsetsTopic), read)
	*n = append(*n, Need{
		Resource: Resource{Type: kmsg.ACLResourceTypeCluster, Name: ClusterName}, Operations: []kmsg.ACLOperation{clusterAction},
		Why: "end what hangs",
	})
	for i := range (*n)[from:] {
		(*n)[from+i].Hanging = true
	}
}

func (n needs) of(service string) needs {
	for i := range n {
		n[i].Service = service
	}
	return n
}
