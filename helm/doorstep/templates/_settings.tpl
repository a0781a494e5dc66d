{{/* What the program is told. files/settings.yaml has the settings of each command with their variables; nothing else is ever given to it. */}}

{{/* The settings that a service, or the command of a hook, takes. Takes root and service. */}}
{{- define "doorstep.flags" -}}
{{- keys (index (.root.Files.Get "files/settings.yaml" | fromYaml) .service) | sortAlpha | toYaml -}}
{{- end -}}

{{/* The settings that values have under names of their own. */}}
{{- define "doorstep.named" -}}
kafka-brokers: kafka.brokers
kafka-tls: kafka.tls.enabled
kafka-ca-file: kafka.tls.caSecret
kafka-cert-file: kafka.tls.certSecretName
kafka-key-file: kafka.tls.certSecretName
kafka-server-name: kafka.tls.serverName
kafka-sasl: kafka.sasl.mechanism
kafka-user: kafka.sasl.user
kafka-password: kafka.sasl.passwordSecret
kafka-password-file: kafka.sasl.passwordSecret
redis-url: redis.url
redis-ca-file: redis.caSecret
redis-cert-file: redis.certSecretName
redis-key-file: redis.certSecretName
redis-password-file: redis.passwordSecret
postgres-url: postgres.url
smtp-url: smtp.url
smtp-from: smtp.from
smtp-ca-file: smtp.caSecret
smtp-password-file: smtp.passwordSecret
bootstrap-key: bootstrapKey.existingSecret
sealing-keys: sealingKeys.existingSecret
sealing-keys-file: sealingKeys.existingSecret
tls-cert-file: tls.secretName
tls-key-file: tls.secretName
tls-client-ca-file: tls.clientCASecret
admin-tls-cert-file: tls.secretName
admin-tls-key-file: tls.secretName
admin-plain: tls.admin
grpc-tls-cert-file: tls.secretName
grpc-tls-key-file: tls.secretName
grpc-plain: tls.secretName
http-tls-cert-file: tls.secretName
http-tls-key-file: tls.secretName
http-plain: tls.secretName
instance: defaults.staticMembership
admin: a fixed port
http: a fixed port
grpc: a fixed port
data: embedded.persistence
partitions: topics.partitions
replication: topics.replication
{{- end -}}

{{/* The variables of a service that are no secrets, as a map. Takes root and service. */}}
{{- define "doorstep.env" -}}
{{- $v := .root.Values -}}
{{- $flags := include "doorstep.flags" . | fromYamlArray -}}
{{- $env := dict -}}
{{- if ne .service "up" -}}
{{- if has "kafka-brokers" $flags -}}
{{- $sasl := include "doorstep.sasl" . | fromYaml -}}
{{- $_ := set $env "DOORSTEP_KAFKA_BROKERS" (join "," $v.kafka.brokers) -}}
{{- if $v.kafka.tls.enabled -}}{{- $_ := set $env "DOORSTEP_KAFKA_TLS" "true" -}}{{- end -}}
{{- if $v.kafka.tls.serverName -}}{{- $_ := set $env "DOORSTEP_KAFKA_SERVER_NAME" $v.kafka.tls.serverName -}}{{- end -}}
{{- if $v.kafka.sasl.mechanism -}}
{{- $_ := set $env "DOORSTEP_KAFKA_SASL" $v.kafka.sasl.mechanism -}}
{{- $_ := set $env "DOORSTEP_KAFKA_USER" $sasl.user -}}
{{- end -}}
{{- end -}}
{{- if and (has "redis-url" $flags) (not $v.redis.urlSecret.name) -}}{{- $_ := set $env "DOORSTEP_REDIS_URL" $v.redis.url -}}{{- end -}}
{{- if and (has "postgres-url" $flags) (not $v.postgres.urlSecret.name) -}}{{- $_ := set $env "DOORSTEP_POSTGRES_URL" $v.postgres.url -}}{{- end -}}
{{- end -}}
{{- if and (has "smtp-url" $flags) (not $v.smtp.urlSecret.name) $v.smtp.url -}}{{- $_ := set $env "DOORSTEP_SMTP_URL" $v.smtp.url -}}{{- end -}}
{{- if and (has "smtp-from" $flags) $v.smtp.from -}}{{- $_ := set $env "DOORSTEP_SMTP_FROM" $v.smtp.from -}}{{- end -}}
{{- if has "http" $flags -}}{{- $_ := set $env "DOORSTEP_HTTP_ADDR" ":8080" -}}{{- end -}}
{{- if has "grpc" $flags -}}{{- $_ := set $env "DOORSTEP_GRPC_ADDR" ":8081" -}}{{- end -}}
{{- if has "admin" $flags -}}{{- $_ := set $env "DOORSTEP_ADMIN_ADDR" ":9090" -}}{{- end -}}
{{- if eq .service "up" -}}{{- $_ := set $env "DOORSTEP_DATA_DIR" "/data" -}}{{- end -}}
{{- if and $v.tls.secretName (has "admin-plain" $flags) (not $v.tls.admin) -}}{{- $_ := set $env "DOORSTEP_ADMIN_PLAIN" "true" -}}{{- end -}}
{{- if and (has "console-url" $flags) $v.ingress.http.enabled -}}
{{- $_ := set $env "DOORSTEP_CONSOLE_URL" (printf "%s://%s" (ternary "https" "http" (ne $v.ingress.http.tlsSecretName "")) (first $v.ingress.http.hosts)) -}}
{{- end -}}
{{- if and (has "sender-cpus" $flags) (ne .service "up") -}}
{{- $r := (include "doorstep.service" . | fromYaml).resources -}}
{{- $cpu := toString (($r.requests | default dict).cpu | default "") -}}
{{- if and $cpu (not ($r.limits | default dict).cpu) -}}
{{- $_ := set $env "DOORSTEP_SENDER_CPUS" (ternary (printf "%.3f" (divf (trimSuffix "m" $cpu | float64) 1000)) $cpu (hasSuffix "m" $cpu)) -}}
{{- end -}}
{{- end -}}
{{- $variables := index (.root.Files.Get "files/settings.yaml" | fromYaml) .service -}}
{{- range $name, $value := $v.settings -}}
{{- if hasKey $variables $name -}}
{{- $text := $value -}}
{{- if kindIs "slice" $value -}}{{- $text = join "," $value -}}
{{- else if kindIs "float64" $value -}}{{- $text = include "doorstep.number" $value -}}{{- end -}}
{{- $_ := set $env (index $variables $name) (toString $text) -}}
{{- end -}}
{{- end -}}
{{- toYaml $env -}}
{{- end -}}

{{/* A number as people write it: values are read as floating-point numbers, whose own way of being printed is 1e+06. */}}
{{- define "doorstep.number" -}}
{{- if eq . (floor .) -}}{{- int64 . -}}{{- else -}}{{- . -}}{{- end -}}
{{- end -}}

{{/* User and password of a service or hook at Kafka. Takes root and service. */}}
{{- define "doorstep.sasl" -}}
{{- $sasl := .root.Values.kafka.sasl -}}
{{- $own := index $sasl.serviceUsers (.service | splitList " " | first) | default dict -}}
user: {{ $own.user | default $sasl.user | quote }}
secret: {{- toYaml (merge (dict) ($own.passwordSecret | default $sasl.passwordSecret) (dict "key" "password")) | nindent 2 }}
{{- end -}}

{{/* The files that a service reads from Secrets: a list of volume, secret, items (key, path) and env. Takes root and service. */}}
{{- define "doorstep.files" -}}
{{- $v := .root.Values -}}
{{- $flags := include "doorstep.flags" . | fromYamlArray -}}
{{- $given := list -}}
{{- if ne .service "up" -}}
{{- if has "kafka-brokers" $flags -}}
{{- $sasl := include "doorstep.sasl" . | fromYaml -}}
{{- $given = append $given (dict "volume" "kafka-ca" "from" $v.kafka.tls.caSecret "env" "DOORSTEP_KAFKA_CA_FILE") -}}
{{- $given = append $given (dict "volume" "kafka-cert" "pair" $v.kafka.tls.certSecretName "env" "DOORSTEP_KAFKA_CERT_FILE" "envKey" "DOORSTEP_KAFKA_KEY_FILE") -}}
{{- if $v.kafka.sasl.mechanism -}}
{{- $given = append $given (dict "volume" "kafka-password" "from" $sasl.secret "env" "DOORSTEP_KAFKA_PASSWORD_FILE") -}}
{{- end -}}
{{- end -}}
{{- if has "redis-url" $flags -}}
{{- $given = append $given (dict "volume" "redis-ca" "from" $v.redis.caSecret "env" "DOORSTEP_REDIS_CA_FILE") -}}
{{- $given = append $given (dict "volume" "redis-cert" "pair" $v.redis.certSecretName "env" "DOORSTEP_REDIS_CERT_FILE" "envKey" "DOORSTEP_REDIS_KEY_FILE") -}}
{{- $given = append $given (dict "volume" "redis-password" "from" $v.redis.passwordSecret "env" "DOORSTEP_REDIS_PASSWORD_FILE") -}}
{{- end -}}
{{- if has "postgres-url" $flags -}}
{{- $given = append $given (dict "volume" "postgres-ca" "from" $v.postgres.caSecret "env" "PGSSLROOTCERT") -}}
{{- $given = append $given (dict "volume" "postgres-cert" "pair" $v.postgres.certSecretName "env" "PGSSLCERT" "envKey" "PGSSLKEY") -}}
{{- end -}}
{{- end -}}
{{- if has "smtp-url" $flags -}}
{{- $given = append $given (dict "volume" "smtp-ca" "from" $v.smtp.caSecret "env" "DOORSTEP_SMTP_CA_FILE") -}}
{{- $given = append $given (dict "volume" "smtp-password" "from" $v.smtp.passwordSecret "env" "DOORSTEP_SMTP_PASSWORD_FILE") -}}
{{- end -}}
{{- if and (has "sealing-keys-file" $flags) $v.sealingKeys.enabled -}}
{{- $from := $v.sealingKeys.existingSecret -}}
{{- if not $from.name -}}{{- $from = dict "name" (printf "%s-sealing-keys" (include "doorstep.fullname" .root)) "key" "sealing-keys" -}}{{- end -}}
{{- $given = append $given (dict "volume" "sealing-keys" "from" $from "env" "DOORSTEP_SEALING_KEYS_FILE") -}}
{{- end -}}
{{- if has "tls-cert-file" $flags -}}
{{- if or $v.tls.admin (has "http" $flags) (has "grpc" $flags) -}}
{{- $given = append $given (dict "volume" "tls" "pair" $v.tls.secretName "env" "DOORSTEP_TLS_CERT_FILE" "envKey" "DOORSTEP_TLS_KEY_FILE") -}}
{{- end -}}
{{- end -}}
{{- if has "tls-client-ca-file" $flags -}}
{{- $given = append $given (dict "volume" "tls-client-ca" "from" $v.tls.clientCASecret "env" "DOORSTEP_TLS_CLIENT_CA_FILE") -}}
{{- end -}}
{{- $files := list -}}
{{- range $given -}}
{{- if .pair -}}
{{- $items := list (dict "key" "tls.crt" "path" "tls.crt") (dict "key" "tls.key" "path" "tls.key") -}}
{{- $files = append $files (dict "volume" .volume "secret" .pair "items" $items "env" (dict .env (printf "/etc/doorstep/%s/tls.crt" .volume) .envKey (printf "/etc/doorstep/%s/tls.key" .volume))) -}}
{{- else if (.from | default dict).name -}}
{{- $files = append $files (dict "volume" .volume "secret" .from.name "items" (list (dict "key" .from.key "path" .volume)) "env" (dict .env (printf "/etc/doorstep/%s/%s" .volume .volume))) -}}
{{- end -}}
{{- end -}}
{{- toYaml $files -}}
{{- end -}}

{{/* Variables of a container that come from Secrets, from its pod, or name files. Takes root and service. */}}
{{- define "doorstep.secretEnv" -}}
{{- $v := .root.Values -}}
{{- $flags := include "doorstep.flags" . | fromYamlArray -}}
{{- $env := list -}}
{{- range include "doorstep.files" . | fromYamlArray -}}
{{- range $name, $path := .env -}}{{- $env = append $env (dict "name" $name "value" $path) -}}{{- end -}}
{{- end -}}
{{- $secrets := list -}}
{{- if ne .service "up" -}}
{{- if has "redis-url" $flags -}}{{- $secrets = append $secrets (dict "env" "DOORSTEP_REDIS_URL" "from" $v.redis.urlSecret) -}}{{- end -}}
{{- if has "postgres-url" $flags -}}
{{- $secrets = append $secrets (dict "env" "DOORSTEP_POSTGRES_URL" "from" $v.postgres.urlSecret) -}}
{{- $secrets = append $secrets (dict "env" "PGPASSWORD" "from" $v.postgres.passwordSecret) -}}
{{- end -}}
{{- end -}}
{{- if has "smtp-url" $flags -}}{{- $secrets = append $secrets (dict "env" "DOORSTEP_SMTP_URL" "from" $v.smtp.urlSecret) -}}{{- end -}}
{{- if has "bootstrap-key" $flags -}}
{{- $from := $v.bootstrapKey.existingSecret -}}
{{- if not $from.name -}}{{- $from = dict "name" (printf "%s-bootstrap-key" (include "doorstep.fullname" .root)) "key" "bootstrap-key" -}}{{- end -}}
{{- $secrets = append $secrets (dict "env" "DOORSTEP_BOOTSTRAP_KEY" "from" $from) -}}
{{- end -}}
{{- range $secrets -}}
{{- if .from.name -}}
{{- $env = append $env (dict "name" .env "valueFrom" (dict "secretKeyRef" (dict "name" .from.name "key" .from.key))) -}}
{{- end -}}
{{- end -}}
{{- toYaml $env -}}
{{- end -}}

{{/* OpenTelemetry's own variables. Takes root and service. */}}
{{- define "doorstep.tracing" -}}
{{- $t := .root.Values.tracing -}}
{{- $env := list -}}
{{- if $t.endpoint -}}
{{- $all := merge (dict "OTEL_EXPORTER_OTLP_ENDPOINT" $t.endpoint "OTEL_EXPORTER_OTLP_PROTOCOL" $t.protocol) $t.env -}}
{{- range $name, $value := $all -}}{{- $env = append $env (dict "name" $name "value" (toString $value)) -}}{{- end -}}
{{- end -}}
{{- toYaml $env -}}
{{- end -}}

{{/* Nine tenths of a memory limit for GOMEMLIMIT; empty where there is none, or it is written in another way. */}}
{{- define "doorstep.gomemlimit" -}}
{{- $limit := toString . -}}
{{- if regexMatch "^[0-9]+Mi$" $limit -}}{{- div (mul (trimSuffix "Mi" $limit | int64) 9) 10 -}}MiB
{{- else if regexMatch "^[0-9]+Gi$" $limit -}}{{- div (mul (trimSuffix "Gi" $limit | int64) 9216) 10 -}}MiB
{{- end -}}
{{- end -}}
