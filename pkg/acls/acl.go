package acls

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// ACL allows a principal one operation on a resource, from every host.
type ACL struct {
	Principal string // e.g. "User:doorstep-sender"
	Resource  Resource
	Operation kmsg.ACLOperation
}

// servicePlace is what Principals.All has in place of the service's name.
const servicePlace = "{service}"

// Principals say as whom services sign in.
type Principals struct {
	All string            // of a service that is not in Of; "{service}" in it is the service's name
	Of  map[string]string // by service
}

// Validate says what is wrong with them.
func (p Principals) Validate() error {
	for service := range p.Of {
		if !slices.Contains(Services(), service) {
			return fmt.Errorf("%q is none of the services %s", service, strings.Join(Services(), ", "))
		}
	}
	for _, service := range Services() {
		principal := p.For(service)
		kind, name, ok := strings.Cut(principal, ":")
		if !ok || kind == "" || name == "" || strings.ContainsAny(principal, "\n\r'") {
			return fmt.Errorf("%q is no principal: it is TYPE:NAME, e.g. User:doorstep", principal)
		}
		if name == "*" {
			return fmt.Errorf("%s is everybody; name those that the services sign in as", principal)
		}
	}
	return nil
}

// For is the principal of a service.
func (p Principals) For(service string) string {
	if of, ok := p.Of[service]; ok {
		return of
	}
	return strings.ReplaceAll(p.All, servicePlace, service)
}

// ACLs are what allows the needs, each once, in the order of principal and resource. Services may share a principal.
func ACLs(needs []Need, p Principals) []ACL {
	var all []ACL
	for _, n := range needs {
		for _, operation := range n.Operations {
			all = append(all, ACL{Principal: p.For(n.Service), Resource: n.Resource, Operation: operation})
		}
	}
	slices.SortFunc(all, ACL.compare)
	return slices.Compact(all)
}

func (a ACL) compare(b ACL) int {
	return cmp.Or(
		cmp.Compare(a.Principal, b.Principal), cmp.Compare(a.Resource.Type, b.Resource.Type), cmp.Compare(a.Resource.Name, b.Resource.Name),
		cmp.Compare(a.Operation, b.Operation),
	)
}

// String is what it allows, in words.
func (a ACL) String() string {
	return fmt.Sprintf("%s may %s %s", a.Principal, OperationName(a.Operation), a.Resource)
}

// String is the resource in words, e.g. "topic doorstep.events".
func (r Resource) String() string {
	switch {
	case r.Type == kmsg.ACLResourceTypeCluster:
		return "the cluster"
	case r.Prefixed:
		return r.TypeName() + " " + r.Name + "*"
	default:
		return r.TypeName() + " " + r.Name
	}
}

// TypeName is the type as Kafka's tools take it, e.g. "transactional-id".
func (r Resource) TypeName() string {
	return strings.ReplaceAll(strings.ToLower(r.Type.String()), "_", "-")
}

// Pattern is "literal" or "prefixed".
func (r Resource) Pattern() string {
	if r.Prefixed {
		return "prefixed"
	}
	return "literal"
}

// OperationName is the operation as Kafka's tools take it, e.g. "DescribeConfigs".
func OperationName(o kmsg.ACLOperation) string {
	var name strings.Builder
	for word := range strings.SplitSeq(strings.ToLower(o.String()), "_") {
		name.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	return name.String()
}
