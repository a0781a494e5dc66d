package acls

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// everyHost and everyName are Kafka's wildcards.
const (
	everyHost     = "*"
	everyName     = "*"
	everyoneNamed = "User:*"
)

// Apply adds what is missing and returns it. It takes nothing away. It may be repeated. It needs Describe and Alter of
// the cluster, and waits for nothing: brokers hear of it within moments.
func Apply(ctx context.Context, client *kgo.Client, want []ACL) ([]ACL, error) {
	missing, err := Check(ctx, client, want)
	if err != nil || len(missing) == 0 {
		return nil, err
	}
	req := kmsg.NewPtrCreateACLsRequest()
	for _, a := range missing {
		creation := kmsg.NewCreateACLsRequestCreation()
		creation.Principal, creation.Host, creation.PermissionType = a.Principal, everyHost, kmsg.ACLPermissionTypeAllow
		creation.ResourceType, creation.ResourceName, creation.Operation = a.Resource.Type, a.Resource.Name, a.Operation
		creation.ResourcePatternType = kmsg.ACLResourcePatternTypeLiteral
		if a.Resource.Prefixed {
			creation.ResourcePatternType = kmsg.ACLResourcePatternTypePrefixed
		}
		req.Creations = append(req.Creations, creation)
	}
	resp, err := req.RequestWith(ctx, client)
	if err != nil {
		return nil, fmt.Errorf("create ACLs: %w", err)
	}
	for i, r := range resp.Results {
		if err := kerr.ErrorForCode(r.ErrorCode); err != nil {
			return nil, fmt.Errorf("create the ACL that %s: %w", missing[i], explain(err))
		}
	}
	return missing, nil
}

// Check returns what of want the brokers do not allow, or deny. Wider ACLs count too: with a prefix, of all names, of all
// operations, of everybody. Those of some hosts only do not.
func Check(ctx context.Context, client *kgo.Client, want []ACL) ([]ACL, error) {
	have, err := describeACLs(ctx, client)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(want), func(a ACL) bool { return allowed(a, have) }), nil
}

// entry is an ACL as brokers have it.
type entry struct {
	resource kmsg.DescribeACLsResponseResource
	acl      kmsg.DescribeACLsResponseResourceACL
}

func describeACLs(ctx context.Context, client *kgo.Client) ([]entry, error) {
	req := kmsg.NewPtrDescribeACLsRequest()
	req.ResourceType, req.ResourcePatternType = kmsg.ACLResourceTypeAny, kmsg.ACLResourcePatternTypeAny
	req.Operation, req.PermissionType = kmsg.ACLOperationAny, kmsg.ACLPermissionTypeAny
	resp, err := req.RequestWith(ctx, client)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if err != nil {
		return nil, fmt.Errorf("list ACLs: %w", explain(err))
	}
	var all []entry
	for _, r := range resp.Resources {
		for _, a := range r.ACLs {
			all = append(all, entry{r, a})
		}
	}
	return all, nil
}

// explain says what an operator can do about it.
func explain(err error) error {
	switch {
	case errors.Is(err, kerr.SecurityDisabled):
		return fmt.Errorf("the brokers have no authorizer (their setting authorizer.class.name), so everybody may do everything: %w", err)
	case errors.Is(err, kerr.ClusterAuthorizationFailed):
		return fmt.Errorf("this needs a user who may Describe, and to change them Alter, the cluster: %w", err)
	}
	return err
}

// allowed reports whether ACLs allow what a does, from every host.
func allowed(a ACL, have []entry) bool {
	yes := false
	for _, e := range have {
		if !e.covers(a) {
			continue
		}
		if e.acl.PermissionType == kmsg.ACLPermissionTypeDeny {
			return false
		}
		yes = yes || e.acl.Host == everyHost
	}
	return yes
}

func (e entry) covers(a ACL) bool {
	if e.resource.ResourceType != a.Resource.Type || e.acl.Principal != a.Principal && e.acl.Principal != everyoneNamed {
		return false
	}
	if e.acl.Operation != a.Operation && e.acl.Operation != kmsg.ACLOperationAll && !e.implies(a.Operation) {
		return false
	}
	switch name := e.resource.ResourceName; {
	case e.resource.ResourcePatternType == kmsg.ACLResourcePatternTypePrefixed:
		return strings.HasPrefix(a.Resource.Name, name)
	case name == everyName:
		return true
	default:
		return !a.Resource.Prefixed && name == a.Resource.Name
	}
}

// implies reports whether allowing the entry's operation allows another one: only Describe and DescribeConfigs are implied.
func (e entry) implies(operation kmsg.ACLOperation) bool {
	if e.acl.PermissionType != kmsg.ACLPermissionTypeAllow {
		return false
	}
	if operation == kmsg.ACLOperationDescribe {
		return slices.Contains([]kmsg.ACLOperation{read, write, alter, kmsg.ACLOperationDelete}, e.acl.Operation)
	}
	return operation == kmsg.ACLOperationDescribeConfigs && e.acl.Operation == kmsg.ACLOperationAlterConfigs
}
