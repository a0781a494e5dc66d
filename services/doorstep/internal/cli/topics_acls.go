package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/acls"
	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/services/doorstep/internal/settings"
)

type topicsACLsCmd struct {
	Kafka       settings.Kafka    `embed:""`
	Principal   string            `name:"principal" default:"User:doorstep-{service}" placeholder:"TYPE:NAME" help:"As whom the services sign in; {service} is ingest, matcher, sender, recorder, notifier, console, or topics for 'doorstep topics apply' and 'check'."`
	PrincipalOf map[string]string `name:"principal-of" mapsep:"none" placeholder:"SERVICE=TYPE:NAME" help:"As whom one service signs in, again for more."`
	Hanging     bool              `name:"hanging" help:"Also what it takes to find and end transactions that hang (which a cluster of one broker can leave behind). It includes ClusterAction, which is meant for brokers."`
	Output      string            `name:"output" short:"o" enum:"table,json,commands,strimzi" default:"table" help:"How to print them: table, json, commands for kafka-acls.sh, or strimzi for KafkaUsers."`
	Cluster     string            `name:"strimzi-cluster" default:"my-cluster" help:"The Kafka that KafkaUsers are labelled with."`
	Apply       bool              `name:"apply" xor:"do" help:"Allow what is missing, on the brokers, instead of printing. Needs a user who may alter ACLs."`
	Check       bool              `name:"check" xor:"do" help:"Say what the brokers do not allow yet, instead of printing."`
}

// Run prints, applies or checks.
func (c *topicsACLsCmd) Run(ctx context.Context, streams IO) error {
	cfg, principals := kafka.Config(c.Kafka), acls.Principals{All: c.Principal, Of: c.PrincipalOf}
	if err := principals.Validate(); err != nil {
		return usageError{fmt.Errorf("--principal: %w", err)}
	}
	needs, err := acls.Needs(cfg)
	if err != nil {
		return usageError{err}
	}
	if !c.Hanging {
		needs = slices.DeleteFunc(needs, func(n acls.Need) bool { return n.Hanging })
	}
	want := acls.ACLs(needs, principals)
	switch {
	case c.Apply:
		return withBrokers(ctx, cfg, func(ctx context.Context, client *kgo.Client) error { return applyACLs(ctx, streams, client, want) })
	case c.Check:
		return withBrokers(ctx, cfg, func(ctx context.Context, client *kgo.Client) error { return checkACLs(ctx, streams, client, want) })
	}
	switch c.Output {
	case "json":
		_, err = output{Format: "json"}.json(streams.Out, aclsJSON(needs, principals))
	case "commands":
		_, err = fmt.Fprint(streams.Out, acls.Commands(want))
	case "strimzi":
		var users string
		if users, err = acls.KafkaUsers(want, c.Cluster); err == nil {
			_, err = fmt.Fprint(streams.Out, users)
		}
	default:
		err = aclsTable(streams, needs, principals)
	}
	return err
}

func applyACLs(ctx context.Context, streams IO, client *kgo.Client, want []acls.ACL) error {
	made, err := acls.Apply(ctx, client, want)
	if err != nil {
		return err
	}
	for _, a := range made {
		fmt.Fprintln(streams.Out, "new:", a)
	}
	_, err = fmt.Fprintf(streams.Out, "%d ACLs are in place, %d of them new\n", len(want), len(made))
	return err
}

func checkACLs(ctx context.Context, streams IO, client *kgo.Client, want []acls.ACL) error {
	missing, err := acls.Check(ctx, client, want)
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		for _, a := range missing {
			fmt.Fprintln(streams.Out, "missing:", a)
		}
		return fmt.Errorf("of %d ACLs the brokers lack %d; 'doorstep topics acls --apply' makes them", len(want), len(missing))
	}
	_, err = fmt.Fprintf(streams.Out, "%d ACLs are in place\n", len(want))
	return err
}

// neededACL is a need as JSON.
type neededACL struct {
	Service    string   `json:"service"`
	Principal  string   `json:"principal"`
	Type       string   `json:"resource_type"`
	Name       string   `json:"resource_name"`
	Pattern    string   `json:"pattern_type"`
	Operations []string `json:"operations"`
	Why        string   `json:"why"`
	Hanging    bool     `json:"hanging"`
}

func aclsJSON(needs []acls.Need, p acls.Principals) []neededACL {
	all := make([]neededACL, 0, len(needs))
	for _, n := range needs {
		all = append(all, neededACL{
			Service: n.Service, Principal: p.For(n.Service), Type: n.Resource.TypeName(), Name: n.Resource.Name,
			Pattern: n.Resource.Pattern(), Operations: operationNames(n), Why: n.Why, Hanging: n.Hanging,
		})
	}
	return all
}

func aclsTable(streams IO, needs []acls.Need, p acls.Principals) error {
	var rows [][]string
	for _, n := range needs {
		rows = append(rows, []string{p.For(n.Service), n.Resource.String(), strings.Join(operationNames(n), ", "), n.Why})
	}
	return table(streams.Out, []string{"PRINCIPAL", "RESOURCE", "MAY", "FOR"}, rows)
}

func operationNames(n acls.Need) []string {
	var names []string
	for _, o := range n.Operations {
		names = append(names, acls.OperationName(o))
	}
	return names
}
