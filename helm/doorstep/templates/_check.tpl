{{/* Ends the rendering with every combination that cannot work, by the names of the values. */}}
{{- define "doorstep.check" -}}
{{- $v := .Values -}}
{{- $errors := list -}}
{{- $named := include "doorstep.named" . | fromYaml -}}
{{- $known := .Files.Get "files/settings.yaml" | fromYaml -}}
{{- range $name, $value := $v.settings -}}
{{- $takers := list -}}
{{- range $service, $variables := $known -}}{{- if hasKey $variables $name -}}{{- $takers = append $takers $service -}}{{- end -}}{{- end -}}
{{- if hasKey $named $name -}}
{{- $errors = append $errors (printf "settings.%s: is set by %s" $name (index $named $name)) -}}
{{- else if not $takers -}}
{{- $errors = append $errors (printf "settings.%s: no service has this setting; doorstep SERVICE --help lists them" $name) -}}
{{- end -}}
{{- end -}}
{{- if not $v.embedded.enabled -}}
{{- if not $v.kafka.brokers -}}{{- $errors = append $errors "kafka.brokers: at least one host:port is required; embedded.enabled=true needs none" -}}{{- end -}}
{{- if not (or $v.redis.url $v.redis.urlSecret.name) -}}{{- $errors = append $errors "redis.url: is required, or redis.urlSecret.name; embedded.enabled=true needs none" -}}{{- end -}}
{{- if not (or $v.postgres.url $v.postgres.urlSecret.name) -}}{{- $errors = append $errors "postgres.url: is required, or postgres.urlSecret.name; embedded.enabled=true needs none" -}}{{- end -}}
{{- end -}}
{{- range $store := list "redis" "postgres" "smtp" -}}
{{- if regexMatch "^[a-z]+://[^/@]*:[^/@]*@" (index $v $store).url -}}{{- $errors = append $errors (printf "%s.url: holds a password; put it into a Secret and name it in %s.passwordSecret.name" $store $store) -}}{{- end -}}
{{- end -}}
{{- if and $v.redis.caSecret.name (hasPrefix "redis://" $v.redis.url) (not $v.redis.urlSecret.name) -}}{{- $errors = append $errors "redis.caSecret.name: needs rediss:// in redis.url" -}}{{- end -}}
{{- if and (or $v.kafka.tls.caSecret.name $v.kafka.tls.certSecretName $v.kafka.tls.serverName) (not $v.kafka.tls.enabled) -}}{{- $errors = append $errors "kafka.tls.enabled: must be true with kafka.tls.caSecret, certSecretName or serverName" -}}{{- end -}}
{{- if or $v.smtp.caSecret.name $v.smtp.passwordSecret.name -}}
{{- if not (or $v.smtp.url $v.smtp.urlSecret.name) -}}{{- $errors = append $errors "smtp.url: is required with smtp.caSecret or smtp.passwordSecret" -}}{{- end -}}
{{- end -}}
{{- if and $v.tls.clientCASecret.name (not $v.tls.secretName) -}}{{- $errors = append $errors "tls.secretName: is required with tls.clientCASecret.name: without TLS nobody shows a certificate" -}}{{- end -}}
{{- if and $v.tls.admin (not $v.tls.secretName) -}}{{- $errors = append $errors "tls.secretName: is required with tls.admin" -}}{{- end -}}
{{- range $name := list "http" "grpc" -}}
{{- $in := index $v.ingress $name -}}
{{- if and $in.enabled (not $in.hosts) -}}{{- $errors = append $errors (printf "ingress.%s.hosts: at least one is required, or ingress.%s.enabled=false" $name $name) -}}{{- end -}}
{{- end -}}
{{- range $service := include "doorstep.services" . | fromYamlArray -}}
{{- if ne $service "up" -}}
{{- $at := dict "root" $ "service" $service -}}
{{- range include "doorstep.checkService" $at | fromYamlArray -}}{{- $errors = append $errors . -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- if and $v.kafka.sasl.mechanism $v.topics.enabled (not $v.embedded.enabled) -}}
{{- $sasl := include "doorstep.sasl" (dict "root" . "service" "topics") | fromYaml -}}
{{- if or (not $sasl.user) (not $sasl.secret.name) -}}{{- $errors = append $errors "kafka.sasl.user, kafka.sasl.passwordSecret.name: are required with kafka.sasl.mechanism (or kafka.sasl.serviceUsers.topics)" -}}{{- end -}}
{{- end -}}
{{- if $errors -}}{{- fail (printf "\n\nThese values cannot work:\n  - %s\n" (join "\n  - " $errors)) -}}{{- end -}}
{{- end -}}

{{/* What cannot work in one service. Takes root and service. */}}
{{- define "doorstep.checkService" -}}
{{- $v := .root.Values -}}
{{- $name := .service -}}
{{- $s := include "doorstep.service" . | fromYaml -}}
{{- $a := $s.autoscaling -}}
{{- $errors := list -}}
{{- $reads := has $name (list "matcher" "sender" "recorder" "notifier") -}}
{{- $most := int $a.maxReplicas -}}
{{- if eq $a.kind "none" -}}
{{- if and $reads (gt (int $s.replicas) (int $v.topics.partitions)) -}}
{{- $errors = append $errors (printf "%s.replicas: %d is above topics.partitions, %d; the rest would do nothing" $name (int $s.replicas) (int $v.topics.partitions)) -}}
{{- end -}}
{{- else -}}
{{- if and $reads (gt $most (int $v.topics.partitions)) -}}
{{- $errors = append $errors (printf "%s.autoscaling.maxReplicas: %d is above topics.partitions, %d; the rest would do nothing" $name $most (int $v.topics.partitions)) -}}
{{- end -}}
{{- if gt (int $a.minReplicas) $most -}}
{{- $errors = append $errors (printf "%s.autoscaling.minReplicas: %d is above maxReplicas, %d" $name (int $a.minReplicas) $most) -}}
{{- end -}}
{{- if and (eq $a.kind "cpu") (not ($s.resources.requests | default dict).cpu) -}}
{{- $errors = append $errors (printf "%s.resources.requests.cpu: is required with %s.autoscaling.kind cpu, which counts in percent of it" $name $name) -}}
{{- end -}}
{{- if and (eq $a.kind "keda") (not $reads) -}}
{{- $errors = append $errors (printf "%s.autoscaling.kind: keda is for what reads topics (matcher, sender, recorder, notifier); %s takes cpu or none" $name $name) -}}
{{- end -}}
{{- if and (eq $a.kind "keda") (eq $a.keda.trigger "prometheus") (ne $name "sender") (not $a.keda.prometheusQuery) -}}
{{- $errors = append $errors (printf "%s.autoscaling.keda.prometheusQuery: is required with trigger prometheus; only the sender has one of its own" $name) -}}
{{- end -}}
{{- end -}}
{{- if le (int $s.terminationGracePeriodSeconds) (int $s.preStopSeconds) -}}
{{- $errors = append $errors (printf "%s.terminationGracePeriodSeconds: %d must be above preStopSeconds, %d, which it includes" $name (int $s.terminationGracePeriodSeconds) (int $s.preStopSeconds)) -}}
{{- end -}}
{{- if $v.kafka.sasl.mechanism -}}
{{- $sasl := include "doorstep.sasl" . | fromYaml -}}
{{- if or (not $sasl.user) (not $sasl.secret.name) -}}
{{- $errors = append $errors (printf "kafka.sasl.user, kafka.sasl.passwordSecret.name: are required with kafka.sasl.mechanism (or kafka.sasl.serviceUsers.%s)" $name) -}}
{{- end -}}
{{- end -}}
{{- toYaml $errors -}}
{{- end -}}
