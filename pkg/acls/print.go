package acls

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// grant is what a principal may do with resources that are alike but for their names: one command, or some entries of a
// KafkaUser.
type grant struct {
	principal  string
	resources  []Resource
	operations []kmsg.ACLOperation
}

// grants merges ACLs, which are in order: first the operations on a resource, then the resources with the same of them.
func grants(all []ACL) []grant {
	var of []grant
	for _, a := range all {
		last := len(of) - 1
		if last >= 0 && of[last].principal == a.Principal && of[last].resources[0] == a.Resource {
			of[last].operations = append(of[last].operations, a.Operation)
			continue
		}
		of = append(of, grant{a.Principal, []Resource{a.Resource}, []kmsg.ACLOperation{a.Operation}})
	}
	var merged []grant
	for _, g := range of {
		i := slices.IndexFunc(merged, func(m grant) bool {
			return m.principal == g.principal && m.resources[0].Type == g.resources[0].Type &&
				m.resources[0].Prefixed == g.resources[0].Prefixed && slices.Equal(m.operations, g.operations)
		})
		if i < 0 {
			merged = append(merged, g)
			continue
		}
		merged[i].resources = append(merged[i].resources, g.resources...)
	}
	return merged
}

// Commands is a shell script that makes the ACLs with Kafka's own tool.
func Commands(all []ACL) string {
	var b strings.Builder
	b.WriteString(`#!/bin/sh
# What Doorstep's services must be allowed to do. BROKERS are host:port, comma separated; ADMIN is a file with the settings of
# a client that may alter ACLs.
set -eu
acl() { kafka-acls.sh --bootstrap-server "$BROKERS" --command-config "$ADMIN" --add "$@"; }
`)
	principal := ""
	for _, g := range grants(all) {
		if g.principal != principal {
			principal = g.principal
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "acl --allow-principal '%s'", g.principal)
		for _, o := range g.operations {
			b.WriteString(" --operation " + OperationName(o))
		}
		for _, r := range g.resources {
			b.WriteString(" --" + r.TypeName())
			if r.Type != kmsg.ACLResourceTypeCluster {
				b.WriteString(" " + r.Name)
			}
		}
		if g.resources[0].Prefixed {
			b.WriteString(" --resource-pattern-type prefixed")
		}
		b.WriteString("\n")
	}
	return b.String()
}

// kafkaUser is Strimzi's resource, as far as it says what somebody may do.
type kafkaUser struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string `yaml:"kind"`
	Metadata   struct {
		Name   string            `yaml:"name"`
		Labels map[string]string `yaml:"labels"`
	} `yaml:"metadata"`
	Spec struct {
		Authentication struct {
			Type string `yaml:"type"`
		} `yaml:"authentication"`
		Authorization struct {
			Type string         `yaml:"type"`
			ACLs []kafkaUserACL `yaml:"acls"`
		} `yaml:"authorization"`
	} `yaml:"spec"`
}

type kafkaUserACL struct {
	Resource   kafkaUserResource `yaml:"resource"`
	Operations []string          `yaml:"operations,flow"`
}

type kafkaUserResource struct {
	Type    string `yaml:"type"`
	Name    string `yaml:"name,omitempty"`
	Pattern string `yaml:"patternType,omitempty"`
}

// KafkaUsers are the ACLs as Strimzi's KafkaUsers of a Kafka, in YAML: with SCRAM-SHA-512 for a principal User:NAME, with a
// client's certificate for User:CN=NAME, which is how Strimzi calls them. It errs for others.
func KafkaUsers(all []ACL, cluster string) (string, error) {
	var b strings.Builder
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	for len(all) > 0 {
		n := slices.IndexFunc(all, func(a ACL) bool { return a.Principal != all[0].Principal })
		if n < 0 {
			n = len(all)
		}
		u, err := newKafkaUser(all[:n], cluster)
		if err != nil {
			return "", err
		}
		if err := e.Encode(u); err != nil {
			return "", fmt.Errorf("write a KafkaUser: %w", err)
		}
		all = all[n:]
	}
	return b.String(), e.Close()
}

func newKafkaUser(all []ACL, cluster string) (kafkaUser, error) {
	u := kafkaUser{APIVersion: "kafka.strimzi.io/v1beta2", Kind: "KafkaUser"}
	name, ok := strings.CutPrefix(all[0].Principal, "User:")
	u.Spec.Authentication.Type = "scram-sha-512"
	if cn, certificate := strings.CutPrefix(name, "CN="); certificate {
		name, u.Spec.Authentication.Type = cn, "tls"
	}
	if !ok || strings.ContainsAny(name, "=,:") {
		return u, fmt.Errorf("%s is no KafkaUser: those are User:NAME, or User:CN=NAME with a certificate", all[0].Principal)
	}
	u.Metadata.Name, u.Metadata.Labels = name, map[string]string{"strimzi.io/cluster": cluster}
	u.Spec.Authorization.Type = "simple"
	for _, g := range grants(all) {
		for _, r := range g.resources {
			to := kafkaUserACL{Resource: kafkaUserResource{Type: kafkaUserType(r), Name: r.Name, Pattern: kafkaUserPattern(r)}}
			if r.Type == kmsg.ACLResourceTypeCluster {
				to.Resource = kafkaUserResource{Type: "cluster"}
			}
			for _, o := range g.operations {
				to.Operations = append(to.Operations, OperationName(o))
			}
			u.Spec.Authorization.ACLs = append(u.Spec.Authorization.ACLs, to)
		}
	}
	return u, nil
}

// kafkaUserType is a type in Strimzi's words, e.g. "transactionalId".
func kafkaUserType(r Resource) string {
	if r.Type == kmsg.ACLResourceTypeTransactionalId {
		return "transactionalId"
	}
	return r.TypeName()
}

// kafkaUserPattern is a pattern in Strimzi's words.
func kafkaUserPattern(r Resource) string {
	if r.Prefixed {
		return "prefix"
	}
	return "literal"
}
