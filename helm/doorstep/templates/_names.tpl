{{/* Names, labels and the list of what runs. */}}

{{- define "doorstep.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "doorstep.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "doorstep.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "doorstep.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* The services that run, by name; "up" is all of them in one pod. */}}
{{- define "doorstep.services" -}}
{{- $on := list -}}
{{- if .Values.embedded.enabled -}}
{{- $on = list "up" -}}
{{- else -}}
{{- range list "ingest" "matcher" "sender" "recorder" "notifier" "console" -}}
{{- if (include "doorstep.service" (dict "root" $ "service" .) | fromYaml).enabled -}}
{{- $on = append $on . -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $on -}}
{{- end -}}

{{/* A service's values: those of all, with its own over them. Takes root and service. */}}
{{- define "doorstep.service" -}}
{{- $own := index .root.Values .service -}}
{{- if eq .service "up" -}}{{- $own = .root.Values.embedded.pod -}}{{- end -}}
{{- mergeOverwrite (deepCopy .root.Values.defaults) (deepCopy ($own | default dict)) | toYaml -}}
{{- end -}}

{{/* Takes root and service. */}}
{{- define "doorstep.component" -}}
{{- printf "%s-%s" (include "doorstep.fullname" .root) .service -}}
{{- end -}}

{{/* The headless Service of a service's pods, with probes and metrics: never one that leads out of the cluster. Takes root and service. */}}
{{- define "doorstep.adminService" -}}
{{- printf "%s-admin" (include "doorstep.component" .) -}}
{{- end -}}

{{- define "doorstep.selector" -}}
app.kubernetes.io/name: {{ include "doorstep.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .service }}
{{- end -}}

{{/* Labels of an object. Takes root and service, which may be any part of the release. */}}
{{- define "doorstep.labels" -}}
{{ include "doorstep.selector" . }}
app.kubernetes.io/part-of: doorstep
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* metadata of an object. Takes root, service, and optionally name, annotations and labels. */}}
{{- define "doorstep.metadata" -}}
name: {{ .name | default (include "doorstep.component" .) }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "doorstep.labels" . | nindent 2 }}
  {{- with .labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with merge (dict) (.annotations | default dict) .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "doorstep.serviceAccount" -}}
{{- $s := include "doorstep.service" . | fromYaml -}}
{{- if $s.serviceAccount.name -}}{{- $s.serviceAccount.name -}}
{{- else if $s.serviceAccount.create -}}{{- include "doorstep.component" . -}}
{{- else -}}default{{- end -}}
{{- end -}}

{{- define "doorstep.image" -}}
{{- $i := .Values.image -}}
{{- if $i.digest -}}{{ $i.repository }}@{{ $i.digest }}
{{- else -}}{{ $i.repository }}:{{ $i.tag | default .Chart.AppVersion }}{{- end -}}
{{- end -}}

{{/* A Secret that the chart makes: what is there stays. Takes root, key and new, the value of a first install. */}}
{{- define "doorstep.generated" -}}
{{- $name := printf "%s-%s" (include "doorstep.fullname" .root) .key -}}
{{- $kept := (lookup "v1" "Secret" .root.Release.Namespace $name | default dict).data | default dict -}}
apiVersion: v1
kind: Secret
metadata:
  {{- include "doorstep.metadata" (dict "root" .root "service" .key "annotations" (dict "helm.sh/resource-policy" "keep")) | nindent 2 }}
type: Opaque
immutable: true
data:
  {{ .key }}: {{ index $kept .key | default (.new | b64enc) }}
{{- end -}}

{{/* "true" where an object of another's API is to be made. Takes root, enabled (auto, true, false) and api. A cluster that answers knows;
     where none does, as in helm template, everything is shown. It is asked for Secrets, which helm itself must be allowed to list. */}}
{{- define "doorstep.wanted" -}}
{{- if eq (toString .enabled) "true" -}}true
{{- else if eq (toString .enabled) "auto" -}}
{{- if or (.root.Capabilities.APIVersions.Has .api) (not (lookup "v1" "Secret" .root.Release.Namespace "")) -}}true{{- end -}}
{{- end -}}
{{- end -}}
