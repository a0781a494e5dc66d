package acls

import (
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/doorstep-dev/doorstep/pkg/kafka"
)

func needsOf(t *testing.T) []Need {
	t.Helper()
	all, err := Needs(kafka.Config{TopicPrefix: "doorstep.", RetryTiers: "1m,5m,60m"})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestNeedsAreSaidOnce(t *testing.T) {
	all := needsOf(t)
	seen := map[string]bool{}
	for _, n := range all {
		if n.Why == "" || len(n.Operations) == 0 || !slices.Contains(Services(), n.Service) {
			t.Errorf("not whole: %+v", n)
		}
		for _, o := range n.Operations {
			key := n.Service + OperationName(o) + n.Resource.String()
			if seen[key] {
				t.Errorf("twice: %s may %s %s", n.Service, OperationName(o), n.Resource)
			}
			seen[key] = true
			// Describe is implied by the others.
			if o == describe && len(slices.DeleteFunc(slices.Clone(n.Operations), func(o kmsg.ACLOperation) bool { return o == describe || o == create || o == describeConfigs })) > 0 {
				t.Errorf("Describe beside what implies it: %+v", n)
			}
		}
	}
}

func TestPrincipals(t *testing.T) {
	for name, tt := range map[string]struct {
		p    Principals
		want string // of the sender; empty: refused
	}{
		"by service":                     {Principals{All: "User:doorstep-{service}"}, "User:doorstep-sender"},
		"one for all":                    {Principals{All: "User:doorstep"}, "User:doorstep"},
		"of a certificate":               {Principals{All: "User:CN={service},O=Doorstep"}, "User:CN=sender,O=Doorstep"},
		"one of its own":                 {Principals{All: "User:x", Of: map[string]string{"sender": "User:y"}}, "User:y"},
		"of a service that there is not": {Principals{All: "User:x", Of: map[string]string{"sneder": "User:y"}}, ""},
		"without a type":                 {Principals{All: "doorstep"}, ""},
		"without a name":                 {Principals{All: "User:"}, ""},
		"everybody":                      {Principals{All: "User:*"}, ""},
		"that would end a shell's quote": {Principals{All: "User:a'b"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := tt.p.Validate()
			if got := tt.p.For(Sender); (err == nil) != (tt.want != "") || err == nil && got != tt.want {
				t.Errorf("%q, %v; want %q", got, err, tt.want)
			}
		})
	}
}

// Services that share a user get what they need once.
func TestACLsOfAllInOne(t *testing.T) {
	all := needsOf(t)
	one, each := ACLs(all, Principals{All: "User:doorstep"}), ACLs(all, Principals{All: "User:{service}"})
	if len(one) == 0 || len(one) >= len(each) {
		t.Errorf("%d ACLs of one user, %d of a user for each service", len(one), len(each))
	}
	if n := len(slices.CompactFunc(slices.Clone(one), func(a, b ACL) bool { return a == b })); n != len(one) {
		t.Errorf("%d of %d are different", n, len(one))
	}
}

func TestWhatBrokersAllow(t *testing.T) {
	topic := Resource{Type: kmsg.ACLResourceTypeTopic, Name: "doorstep.events"}
	ids := Resource{Type: kmsg.ACLResourceTypeTransactionalId, Name: "doorstep.matcher.", Prefixed: true}
	on := func(r Resource, pattern kmsg.ACLResourcePatternType, o kmsg.ACLOperation, change func(*entry)) entry {
		e := entry{
			resource: kmsg.DescribeACLsResponseResource{ResourceType: r.Type, ResourceName: r.Name, ResourcePatternType: pattern},
			acl:      kmsg.DescribeACLsResponseResourceACL{Principal: "User:x", Host: "*", Operation: o, PermissionType: kmsg.ACLPermissionTypeAllow},
		}
		if change != nil {
			change(&e)
		}
		return e
	}
	named := func(name string) func(*entry) { return func(e *entry) { e.resource.ResourceName = name } }
	const literal, prefixed = kmsg.ACLResourcePatternTypeLiteral, kmsg.ACLResourcePatternTypePrefixed
	denies := func(e *entry) { e.acl.PermissionType = kmsg.ACLPermissionTypeDeny }
	for name, tt := range map[string]struct {
		want ACL
		have []entry
		ok   bool
	}{
		"nothing":                  {ACL{"User:x", topic, read}, nil, false},
		"the same":                 {ACL{"User:x", topic, read}, []entry{on(topic, literal, read, nil)}, true},
		"another operation":        {ACL{"User:x", topic, read}, []entry{on(topic, literal, write, nil)}, false},
		"all operations":           {ACL{"User:x", topic, read}, []entry{on(topic, literal, kmsg.ACLOperationAll, nil)}, true},
		"describe by another":      {ACL{"User:x", topic, describe}, []entry{on(topic, literal, write, nil)}, true},
		"configs by altering them": {ACL{"User:x", topic, describeConfigs}, []entry{on(topic, literal, kmsg.ACLOperationAlterConfigs, nil)}, true},
		"configs by altering":      {ACL{"User:x", topic, describeConfigs}, []entry{on(topic, literal, alter, nil)}, false},
		"another topic":            {ACL{"User:x", topic, read}, []entry{on(topic, literal, read, named("doorstep.event"))}, false},
		"a prefix":                 {ACL{"User:x", topic, read}, []entry{on(topic, prefixed, read, named("doorstep."))}, true},
		"all topics":               {ACL{"User:x", topic, read}, []entry{on(topic, literal, read, named("*"))}, true},
		"another kind":             {ACL{"User:x", topic, read}, []entry{on(ids, literal, read, named("*"))}, false},
		"another user":             {ACL{"User:x", topic, read}, []entry{on(topic, literal, read, func(e *entry) { e.acl.Principal = "User:y" })}, false},
		"everybody":                {ACL{"User:x", topic, read}, []entry{on(topic, literal, read, func(e *entry) { e.acl.Principal = "User:*" })}, true},
		"one host":                 {ACL{"User:x", topic, read}, []entry{on(topic, literal, read, func(e *entry) { e.acl.Host = "192.0.2.1" })}, false},
		"denied too":               {ACL{"User:x", topic, read}, []entry{on(topic, literal, read, nil), on(topic, literal, kmsg.ACLOperationAll, denies)}, false},
		"denied otherwise":         {ACL{"User:x", topic, describe}, []entry{on(topic, literal, read, nil), on(topic, literal, write, denies)}, true},
		"ids by their prefix":      {ACL{"User:x", ids, write}, []entry{on(ids, prefixed, write, nil)}, true},
		"ids by a shorter one":     {ACL{"User:x", ids, write}, []entry{on(ids, prefixed, write, named("doorstep."))}, true},
		"one id of many":           {ACL{"User:x", ids, write}, []entry{on(ids, literal, write, nil)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := allowed(tt.want, tt.have); got != tt.ok {
				t.Errorf("%t, want %t", got, tt.ok)
			}
		})
	}
}

func TestCommands(t *testing.T) {
	got := Commands(ACLs(needsOf(t), Principals{All: "User:d-{service}"}))
	for _, line := range []string{
		"acl --allow-principal 'User:d-ingest' --operation Read --topic doorstep.settings\n",
		"acl --allow-principal 'User:d-ingest' --operation Write --topic doorstep.events --topic doorstep.quarantine\n",
		"acl --allow-principal 'User:d-matcher' --operation Write --transactional-id doorstep.matcher. --resource-pattern-type prefixed\n",
		"acl --allow-principal 'User:d-matcher' --operation ClusterAction --cluster\n",
		"acl --allow-principal 'User:d-sender' --operation Read --group doorstep.sender\n",
	} {
		if !strings.Contains(got, line) {
			t.Errorf("no %q in\n%s", line, got)
		}
	}
}

func TestKafkaUsers(t *testing.T) {
	all := needsOf(t)
	got, err := KafkaUsers(ACLs(all, Principals{All: "User:CN={service}", Of: map[string]string{Ingest: "User:in"}}), "logs")
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{
		"name: in\n", "type: scram-sha-512\n", "name: matcher\n", "type: tls\n", "strimzi.io/cluster: logs\n",
		"type: transactionalId\n          name: doorstep.matcher.\n          patternType: prefix\n", "operations: [ClusterAction]\n",
	} {
		if !strings.Contains(got, part) {
			t.Errorf("no %q in\n%s", part, got)
		}
	}
	if _, err := KafkaUsers(ACLs(all, Principals{All: "User:CN={service},O=x"}), "logs"); err == nil {
		t.Error("a name that is no KafkaUser's is taken")
	}
}
