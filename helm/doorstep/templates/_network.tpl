{{/* Who may reach whom. */}}

{{/* Where a store is, as `to` of a NetworkPolicy; empty: anywhere. Takes hosts, a list. */}}
{{- define "doorstep.peers" -}}
{{- $peers := list -}}
{{- $anywhere := false -}}
{{- range .hosts -}}
{{- if regexMatch "^[0-9.]+$" . -}}
{{- $peers = append $peers (dict "ipBlock" (dict "cidr" (printf "%s/32" .))) -}}
{{- else if not (contains "." .) -}}
{{- $peers = append $peers (dict "podSelector" dict) -}}
{{- else if regexMatch "\\.[a-z0-9-]+\\.svc(\\.|$)" . -}}
{{- $namespace := regexReplaceAll "^.*\\.([a-z0-9-]+)\\.svc(\\..*)?$" . "${1}" -}}
{{- $peers = append $peers (dict "namespaceSelector" (dict "matchLabels" (dict "kubernetes.io/metadata.name" $namespace))) -}}
{{- else -}}
{{- $anywhere = true -}}
{{- end -}}
{{- end -}}
{{- if not $anywhere -}}{{- toYaml (uniq $peers) -}}{{- end -}}
{{- end -}}

{{/* host:port of an address, which may be a URL. Takes address and port, the default. */}}
{{- define "doorstep.hostport" -}}
{{- $at := regexReplaceAll "^[a-z+]+://" .address "" | splitList "/" | first | splitList "?" | first | splitList "@" | last -}}
{{- if regexMatch ":[0-9]+$" $at -}}{{ $at }}{{- else -}}{{ $at }}:{{ .port }}{{- end -}}
{{- end -}}

{{/* A rule of egress to a store. Takes root, store, addresses and port, the default. */}}
{{- define "doorstep.toStore" -}}
{{- $set := index .root.Values.networkPolicy.stores .store -}}
{{- $port := .port -}}
{{- $hosts := list -}}{{- $ports := list -}}
{{- range .addresses -}}
{{- $at := include "doorstep.hostport" (dict "address" . "port" $port) -}}
{{- $hosts = append $hosts (regexReplaceAll ":[0-9]+$" $at "") -}}
{{- $ports = append $ports (splitList ":" $at | last | int) -}}
{{- end -}}
{{- if not $hosts -}}{{- $hosts = list "a.name.elsewhere" -}}{{- $ports = list $port -}}{{- end -}}
- ports:
    {{- range $set.ports | default (uniq $ports) }}
    - {protocol: TCP, port: {{ int . }}}
    {{- end }}
  {{- with $set.to | default (include "doorstep.peers" (dict "hosts" $hosts) | fromYamlArray) }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{ end -}}

{{/* What a service, or the command of a hook, reaches: names, and its stores. Takes root and service. */}}
{{- define "doorstep.egress" -}}
{{- $v := .root.Values -}}
{{- $flags := include "doorstep.flags" . | fromYamlArray -}}
- ports:
    {{- range $v.networkPolicy.dns.ports }}
    - {protocol: UDP, port: {{ int . }}}
    - {protocol: TCP, port: {{ int . }}}
    {{- end }}
  {{- with $v.networkPolicy.dns.to }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{ if ne .service "up" -}}
{{- if has "kafka-brokers" $flags -}}
{{- include "doorstep.toStore" (dict "root" .root "store" "kafka" "addresses" $v.kafka.brokers "port" 9092) -}}
{{- end -}}
{{- if has "redis-url" $flags -}}
{{- include "doorstep.toStore" (dict "root" .root "store" "redis" "addresses" (ternary (list) (list $v.redis.url) (ne $v.redis.urlSecret.name "")) "port" 6379) -}}
{{- end -}}
{{- if has "postgres-url" $flags -}}
{{- include "doorstep.toStore" (dict "root" .root "store" "postgres" "addresses" (ternary (list) (list $v.postgres.url) (ne $v.postgres.urlSecret.name "")) "port" 5432) -}}
{{- end -}}
{{- end -}}
{{- if and (has "smtp-url" $flags) (or $v.smtp.url $v.smtp.urlSecret.name) -}}
{{- include "doorstep.toStore" (dict "root" .root "store" "smtp" "addresses" (ternary (list) (list $v.smtp.url) (ne $v.smtp.urlSecret.name "")) "port" (ternary 465 25 (hasPrefix "smtps:" $v.smtp.url))) -}}
{{- end -}}
{{- if and $v.tracing.endpoint (has "log-level" $flags) -}}
{{- include "doorstep.toStore" (dict "root" .root "store" "tracing" "addresses" (list $v.tracing.endpoint) "port" (ternary 4317 4318 (eq $v.tracing.protocol "grpc"))) -}}
{{- end -}}
{{- if has "sender-max-in-flight" $flags }}
{{- include "doorstep.toReceivers" . }}
{{- end }}
{{- end -}}

{{/* What a sender reaches beside its stores: the public internet, and networks that are allowed by hand. */}}
{{- define "doorstep.toReceivers" -}}
{{- $v := .root.Values -}}
{{- $allowed := index $v.settings "allow-networks" | default list -}}
{{- if kindIs "string" $allowed -}}{{- $allowed = splitList "," $allowed -}}{{- end -}}
- ports:
    {{- if index $v.settings "allow-http" }}
    - {protocol: TCP, port: 80}
    {{- end }}
    - {protocol: TCP, port: 443}
    - {protocol: TCP, port: 1024, endPort: 65535}
  to:
    - ipBlock:
        cidr: 0.0.0.0/0
        except:
          {{- toYaml $v.networkPolicy.sender.except | nindent 10 }}
    - ipBlock:
        cidr: ::/0
        except:
          {{- toYaml $v.networkPolicy.sender.exceptIPv6 | nindent 10 }}
    {{- range $allowed }}
    - ipBlock:
        cidr: {{ trim . }}
    {{- end }}
{{- end -}}
