{{/* Reducto's container, its volumes, and the pods that are made of them. */}}

{{/* A Reducto container without probes and ports; call with (dict "root" $ "name" .. "args" .. "resources" ..). */}}
{{- define "reducto.command" -}}
name: {{ .name }}
image: {{ include "reducto.image" (dict "image" .root.Values.image "tag" .root.Chart.AppVersion) }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
args:
  {{- toYaml .args | nindent 2 }}
env:
  - name: REDUCTO_CONFIG
    value: /etc/reducto/config/sidecar.yaml
  {{- with .scratch }}
  - {name: TMPDIR, value: {{ . }}}
  {{- end }}
  {{- with .root.Values.secrets.index }}
  {{- if .existingSecret }}
  - name: REDUCTO_DEDUPE_INDEX
    valueFrom: {secretKeyRef: {name: {{ .existingSecret }}, key: {{ .key }}}}
  {{- end }}
  {{- end }}
  {{- with .root.Values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .root.Values.extraEnvFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- toYaml .root.Values.securityContext | nindent 2 }}
resources:
  {{- toYaml .resources | nindent 2 }}
volumeMounts:
  - {name: config, mountPath: /etc/reducto/config, readOnly: true}
  - {name: tmp, mountPath: /tmp}
  {{- range $name := list "spool" "cache" "corpora" }}
  - {name: {{ $name }}, mountPath: /var/lib/reducto/{{ $name }}}
  {{- end }}
  {{- range $name, $secret := .root.Values.secrets }}
  {{- if and $secret.existingSecret (ne $name "index") }}
  - {name: {{ kebabcase $name }}, mountPath: /etc/reducto/{{ $name }}, readOnly: true}
  {{- end }}
  {{- end }}
  {{- with .mounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- with .root.Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/* The sidecar's container, for this chart's pods and for the `extraContainers` of other charts;
     call with include "reducto.container" $. */}}
{{- define "reducto.container" -}}
{{- $config := include "reducto.config" . | fromYaml }}
{{- $scheme := ternary "HTTPS" "HTTP" (hasKey $config.listen "tls") }}
{{- include "reducto.command" (dict "root" . "name" "reducto" "args" (list "serve") "resources" .Values.resources) }}
ports:
  - name: registry
    containerPort: {{ $config.listen.data_port }}
    {{- if eq .Values.kind "DaemonSet" }}
    hostPort: {{ .Values.edge.hostPort }}
    hostIP: {{ .Values.edge.hostIP }}
    {{- end }}
  - name: control
    containerPort: {{ $config.listen.control_port }}
{{- range $name, $path := dict "startup" "/health/startup" "liveness" "/health/live" "readiness" "/health/ready" }}
{{ $name }}Probe:
  httpGet: {path: {{ $path }}, port: control, scheme: {{ $scheme }}}
  timeoutSeconds: 5
  {{- toYaml (index $.Values.probes $name) | nindent 2 }}
{{- end }}
lifecycle:
  preStop:
    sleep: {seconds: {{ .Values.preStopSeconds }}}
{{- end }}

{{/* All volumes that the container mounts; call with include "reducto.volumes" $. */}}
{{- define "reducto.volumes" -}}
{{- include "reducto.fixedVolumes" . }}
{{- range $name := list "spool" "cache" "corpora" }}
{{- include "reducto.volume" (dict "name" $name "volume" (index $.Values $name)) }}
{{- end }}
{{- end }}

{{- define "reducto.fixedVolumes" -}}
- name: config
  configMap: {name: {{ include "reducto.fullname" . }}}
- name: tmp
  emptyDir: {sizeLimit: 256Mi}
{{- range $name, $secret := .Values.secrets }}
{{- if and $secret.existingSecret (ne $name "index") }}
- name: {{ kebabcase $name }}
  secret: {secretName: {{ $secret.existingSecret }}, defaultMode: 0440}
{{- end }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* One volume of a pod; nothing if a volume claim of the StatefulSet provides it. */}}
{{- define "reducto.volume" -}}
{{- if .volume.existingClaim }}
- name: {{ .name }}
  persistentVolumeClaim: {claimName: {{ .volume.existingClaim }}}
{{- else if not .volume.persistent }}
- name: {{ .name }}
  emptyDir: {sizeLimit: {{ .volume.size }}}
{{- end }}
{{- end }}

{{- define "reducto.volumeClaim" -}}
{{- if and .volume.persistent (not .volume.existingClaim) }}
- metadata: {name: {{ .name }}}
  spec:
    accessModes: [ReadWriteOnce]
    {{- with .volume.storageClass }}
    storageClassName: {{ . }}
    {{- end }}
    resources: {requests: {storage: {{ .volume.size }}}}
{{- end }}
{{- end }}

{{/* The part of the specification that all pods of the chart have in common. */}}
{{- define "reducto.podCommon" -}}
serviceAccountName: {{ include "reducto.serviceAccountName" . }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- range $field := list "nodeSelector" "tolerations" "affinity" }}
{{- with index $.Values $field }}
{{ $field }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}

{{/* The specification of a Job that runs Reducto commands one after the other, on volumes of its own; call with
     (dict "root" $ "resources" .. "steps" (list (dict "name" .. "args" ..)) "mounts" .. "volumes" .. "deadline" ..). */}}
{{- define "reducto.jobSpec" -}}
{{- $shared := pick . "root" "resources" "mounts" "scratch" -}}
backoffLimit: 2
{{- with .deadline }}
activeDeadlineSeconds: {{ . }}
{{- end }}
template:
  metadata:
    labels:
      {{- include "reducto.labels" .root | nindent 6 }}
  spec:
    restartPolicy: Never
    {{- include "reducto.podCommon" .root | nindent 4 }}
    {{- with initial .steps }}
    initContainers:
      {{- range . }}
      - {{ include "reducto.command" (merge . $shared) | indent 8 | trim }}
      {{- end }}
    {{- end }}
    containers:
      - {{ include "reducto.command" (merge (last .steps) $shared) | indent 8 | trim }}
    volumes:
      {{- include "reducto.fixedVolumes" .root | nindent 6 }}
      - {name: spool, emptyDir: {sizeLimit: {{ .root.Values.spool.size }}}}
      - {name: cache, emptyDir: {sizeLimit: {{ .root.Values.cache.size }}}}
      {{- include "reducto.volume" (dict "name" "corpora" "volume" (omit .root.Values.corpora "persistent")) | nindent 6 }}
      {{- with .volumes }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
{{- end }}
