{{/* The sidecar's configuration: what the chart derives, overridden by what the user set. */}}

{{- define "reducto.config" -}}
{{- $derived := include "reducto.derivedConfig" . | fromYaml }}
{{- range $section := list "upstream" "security" }}
{{- if not (index $derived $section) }}{{ $_ := unset $derived $section }}{{ end }}
{{- end }}
{{- $config := mustMergeOverwrite $derived (deepCopy .Values.config) }}
{{- if .Values.registry.enabled }}{{ $_ := set $config.upstream "url" "http://127.0.0.1:5001" }}{{ end }}
{{- toYaml $config }}
{{- end }}

{{- define "reducto.derivedConfig" -}}
{{- $secrets := .Values.secrets -}}
role: {{ ternary "edge" "origin" (eq .Values.kind "DaemonSet") }}
listen:
  data_port: 5000
  control_port: 9090
  {{- if $secrets.tls.existingSecret }}
  tls:
    certificate_file: /etc/reducto/tls/tls.crt
    key_file: /etc/reducto/tls/tls.key
  {{- end }}
upstream:
  {{- if $secrets.ca.existingSecret }}
  ca_file: /etc/reducto/ca/{{ $secrets.ca.key }}
  {{- end }}
  {{- if $secrets.clientTls.existingSecret }}
  client_certificate_file: /etc/reducto/clientTls/tls.crt
  client_key_file: /etc/reducto/clientTls/tls.key
  {{- end }}
  {{- if $secrets.credentials.existingSecret }}
  credentials_file: /etc/reducto/credentials/.dockerconfigjson
  {{- end }}
{{- if has .Values.kind (list "Deployment" "StatefulSet") }}
replicas:
  peers: [{{ include "reducto.fullname" . }}-control]
{{- end }}
spool:
  dir: /var/lib/reducto/spool
  max_size: {{ include "reducto.share" (list 90 .Values.spool.size) }}
cache:
  dir: /var/lib/reducto/cache
  max_size: {{ include "reducto.share" (list 45 .Values.cache.size) }}
corpus:
  cache_dir: /var/lib/reducto/corpora
  max_cache_size: {{ include "reducto.share" (list 90 .Values.corpora.size) }}
security:
  {{- if or $secrets.signing.existingSecret $secrets.trusted.existingSecret }}
  signing:
    {{- if $secrets.signing.existingSecret }}
    key: /etc/reducto/signing/{{ $secrets.signing.key }}
    {{- end }}
    {{- if $secrets.trusted.existingSecret }}
    trusted_keys: [/etc/reducto/trusted]
    required: true
    {{- end }}
  {{- end }}
  {{- if $secrets.encryption.existingSecret }}
  encryption:
    keys:
      {{- range $secrets.encryption.keys }}
      - /etc/reducto/encryption/{{ . }}
      {{- end }}
  {{- end }}
  {{- if $secrets.access.existingSecret }}
  access:
    api_keys_file: /etc/reducto/access/{{ $secrets.access.key }}
  {{- end }}
limits:
  drain_timeout: {{ max 1 (sub (int .Values.terminationGracePeriodSeconds) (add 5 (int .Values.preStopSeconds))) }}s
logging:
  format: json
{{- end }}

{{/* A percentage of a volume's size, in the configuration's units; call with (list percent size). */}}
{{- define "reducto.share" -}}
{{ div (mul (index . 1 | trimSuffix "Gi" | int) (index . 0) 1024) 100 }}MiB
{{- end }}
