{{/* What KEDA is told. */}}

{{- define "doorstep.topicPrefix" -}}
{{- index .Values.settings "topic-prefix" | default "doorstep." -}}
{{- end -}}

{{/* The topics whose lag says that a service is behind. What waits in a retry tier is not: it is not due. */}}
{{- define "doorstep.lagTopics" -}}
{{- if eq . "matcher" -}}[events]
{{- else if eq . "sender" -}}[deliveries]
{{- else if eq . "recorder" -}}[attempts, deliveries, events]
{{- else if eq . "notifier" -}}[notices]
{{- end -}}
{{- end -}}

{{- define "doorstep.kedaSASL" -}}
{{- if eq . "PLAIN" -}}plaintext{{- else -}}{{ . | lower | replace "-" "_" | replace "sha_" "sha" }}{{- end -}}
{{- end -}}

{{/* The senders that are needed: each says what its own partitions need, so it is the sum. Takes root and service. */}}
{{- define "doorstep.requiredReplicas" -}}
sum(doorstep_sender_required_replicas{namespace="{{ .root.Release.Namespace }}",pod=~"{{ include "doorstep.component" . }}-.*"})
{{- end -}}
