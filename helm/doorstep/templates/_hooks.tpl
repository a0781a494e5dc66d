{{/* Annotations of what runs before an install and an upgrade. Takes root, weight and delete. */}}
{{- define "doorstep.hook" -}}
helm.sh/hook: pre-install,pre-upgrade
helm.sh/hook-weight: {{ .weight | quote }}
helm.sh/hook-delete-policy: {{ .delete }}
{{- end -}}
