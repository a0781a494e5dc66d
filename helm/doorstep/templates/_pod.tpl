{{/* The pod of a service, and of a hook. */}}

{{- define "doorstep.probe" -}}
httpGet:
  path: {{ .path }}
  port: {{ .port }}
  {{- if .tls }}
  scheme: HTTPS
  {{- end }}
{{ toYaml .probe }}
{{- end -}}

{{/* Volumes of files from Secrets. Takes root and service. */}}
{{- define "doorstep.volumes" -}}
{{- range include "doorstep.files" . | fromYamlArray }}
- name: {{ .volume }}
  secret:
    secretName: {{ .secret }}
    defaultMode: 0440
    items:
      {{- toYaml .items | nindent 6 }}
{{- end }}
{{- end -}}

{{- define "doorstep.volumeMounts" -}}
{{- range include "doorstep.files" . | fromYamlArray }}
- name: {{ .volume }}
  mountPath: /etc/doorstep/{{ .volume }}
  readOnly: true
{{- end }}
{{- end -}}

{{/* Ports of a service. Takes root and service. */}}
{{- define "doorstep.ports" -}}
{{- if has .service (list "console" "up") -}}http: 8080
{{ end -}}
{{- if has .service (list "ingest" "up") -}}grpc: 8081
{{ end -}}
{{- if ne .service "up" -}}admin: 9090
{{ end -}}
{{- end -}}

{{/* Spread of pods. Takes root, service and given. */}}
{{- define "doorstep.spread" -}}
{{- if .given -}}
{{- range .given }}
- {{ merge (dict) . (dict "labelSelector" (dict "matchLabels" (include "doorstep.selector" $ | fromYaml))) | toYaml | nindent 2 | trim }}
{{- end }}
{{- else }}
{{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
- maxSkew: 1
  topologyKey: {{ . }}
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels:
      {{- include "doorstep.selector" $ | nindent 6 }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The pod template of a service. Takes root, service and values, the service's own. */}}
{{- define "doorstep.pod" -}}
{{- $root := .root -}}
{{- $s := .values -}}
{{- $probePort := ternary "http" "admin" (eq .service "up") -}}
{{- $probeTLS := and (ne $root.Values.tls.secretName "") (or $root.Values.tls.admin (eq .service "up")) -}}
metadata:
  labels:
    {{- include "doorstep.labels" . | nindent 4 }}
    {{- with $s.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    checksum/config: {{ include "doorstep.env" . | sha256sum }}
    kubectl.kubernetes.io/default-container: {{ .service }}
    {{- with $s.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "doorstep.serviceAccount" . }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ $s.terminationGracePeriodSeconds }}
  securityContext:
    {{- toYaml $s.podSecurityContext | nindent 4 }}
  {{- with $root.Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $s.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with $s.runtimeClassName }}
  runtimeClassName: {{ . }}
  {{- end }}
  {{- with $s.initContainers }}
  initContainers:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: {{ .service }}
      image: {{ include "doorstep.image" $root | quote }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      args: [{{ .service }}]
      securityContext:
        {{- toYaml $s.securityContext | nindent 8 }}
      envFrom:
        - configMapRef:
            name: {{ include "doorstep.component" . }}
        {{- with $s.extraEnvFrom }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      env:
        {{- if and $s.staticMembership (has .service (list "matcher" "sender")) }}
        - name: DOORSTEP_INSTANCE
          valueFrom:
            fieldRef:
              fieldPath: metadata.name
        {{- end }}
        {{- with include "doorstep.secretEnv" . | fromYamlArray }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
        {{- with include "doorstep.gomemlimit" (($s.resources.limits | default dict).memory | default "") }}
        - name: GOMEMLIMIT
          value: {{ . }}
        {{- end }}
        {{- with include "doorstep.tracing" . | fromYamlArray }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
        {{- with $s.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      ports:
        {{- range $name, $port := include "doorstep.ports" . | fromYaml }}
        - name: {{ $name }}
          containerPort: {{ $port }}
        {{- end }}
      startupProbe:
        {{- include "doorstep.probe" (dict "path" "/healthz" "port" $probePort "tls" $probeTLS "probe" $s.startupProbe) | nindent 8 }}
      livenessProbe:
        {{- include "doorstep.probe" (dict "path" "/healthz" "port" $probePort "tls" $probeTLS "probe" $s.livenessProbe) | nindent 8 }}
      readinessProbe:
        {{- include "doorstep.probe" (dict "path" "/readyz" "port" $probePort "tls" $probeTLS "probe" $s.readinessProbe) | nindent 8 }}
      {{- if $s.preStopSeconds }}
      lifecycle:
        preStop:
          sleep:
            seconds: {{ $s.preStopSeconds }}
      {{- end }}
      resources:
        {{- toYaml $s.resources | nindent 8 }}
      volumeMounts:
        - name: tmp
          mountPath: /tmp
        {{- if eq .service "up" }}
        - name: data
          mountPath: /data
        {{- end }}
        {{- with include "doorstep.volumeMounts" . | trim }}
        {{- . | nindent 8 }}
        {{- end }}
        {{- with $s.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    {{- with $s.sidecars }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    - name: tmp
      emptyDir: {sizeLimit: 64Mi}
    {{- if and (eq .service "up") $root.Values.embedded.persistence.existingClaim }}
    - name: data
      persistentVolumeClaim:
        claimName: {{ $root.Values.embedded.persistence.existingClaim }}
    {{- end }}
    {{- with include "doorstep.volumes" . | trim }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- with $s.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with $s.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $s.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $s.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  topologySpreadConstraints:
    {{- include "doorstep.spread" (merge (dict "given" $s.topologySpreadConstraints) .) | trim | nindent 4 }}
{{- end -}}
