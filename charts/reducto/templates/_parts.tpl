{{/* Containers that only some pods have. */}}

{{- define "reducto.registryContainer" -}}
name: registry
image: {{ include "reducto.image" (dict "image" .Values.registry.image) }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
env:
  - {name: REGISTRY_HTTP_ADDR, value: "127.0.0.1:5001"}
  - {name: REGISTRY_STORAGE_DELETE_ENABLED, value: "true"}
  - {name: OTEL_TRACES_EXPORTER, value: none}
  {{- with .Values.registry.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
resources:
  {{- toYaml .Values.registry.resources | nindent 2 }}
volumeMounts:
  - {name: registry, mountPath: /var/lib/registry}
{{- end }}

{{/* The container that copies hosts.toml to where containerd reads it. It is the only one that runs as root. */}}
{{- define "reducto.installHosts" -}}
name: install-hosts
image: {{ include "reducto.image" (dict "image" .Values.image "tag" .Chart.AppVersion) }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
command: [install, -D, -m, "0644", /etc/reducto/config/hosts.toml, {{ printf "/host/%s/hosts.toml" .Values.edge.registry | quote }}]
securityContext:
  runAsNonRoot: false
  runAsUser: 0
  {{- toYaml .Values.securityContext | nindent 2 }}
resources:
  requests: {cpu: 10m, memory: 16Mi}
  limits: {memory: 64Mi}
volumeMounts:
  - {name: config, mountPath: /etc/reducto/config, readOnly: true}
  - {name: certs-dir, mountPath: /host}
{{- end }}
