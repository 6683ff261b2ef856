{{/* Names, labels, the image, and the refusal of values that contradict each other. */}}

{{- define "reducto.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "reducto.fullname" -}}
{{- $name := include "reducto.name" . }}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) }}
{{- default $full .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- end }}

{{- define "reducto.labels" -}}
app.kubernetes.io/name: {{ include "reducto.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The labels of the pods that serve. Pods of jobs lack the component, so no service sends them requests. */}}
{{- define "reducto.selectorLabels" -}}
app.kubernetes.io/name: {{ include "reducto.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: sidecar
{{- end }}

{{/* The metadata of an object; call with (dict "root" $ "suffix" "-control" "component" "control"). */}}
{{- define "reducto.metadata" -}}
name: {{ include "reducto.fullname" .root }}{{ .suffix }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "reducto.labels" .root | nindent 2 }}
  {{- with .labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* An image as name:tag or name@digest; call with (dict "image" .Values.image "tag" .Chart.AppVersion). */}}
{{- define "reducto.image" -}}
{{ .image.repository }}{{ if .image.digest }}@{{ .image.digest }}{{ else }}:{{ .image.tag | default .tag }}{{ end }}
{{- end }}

{{- define "reducto.serviceAccountName" -}}
{{- $own := ternary (include "reducto.fullname" .) "default" .Values.serviceAccount.create }}
{{- default $own .Values.serviceAccount.name }}
{{- end }}

{{/* Fails for values that are valid one by one but contradict each other. */}}
{{- define "reducto.validate" -}}
{{- $v := .Values }}
{{- $stateful := eq $v.kind "StatefulSet" }}
{{- if not (or $v.registry.enabled (($v.config).upstream).url) }}
  {{- fail "set config.upstream.url to the registry's address, or registry.enabled to run one in the pod" }}
{{- end }}
{{- range $name, $volume := dict "spool" $v.spool "cache" $v.cache "corpora" $v.corpora }}
  {{- if and $volume.persistent (not $stateful) (not $volume.existingClaim) }}
    {{- fail (printf "%s.persistent needs kind: StatefulSet, or name a claim in %s.existingClaim" $name $name) }}
  {{- end }}
{{- end }}
{{- if $v.registry.enabled }}
  {{- if not (has $v.kind (list "Deployment" "StatefulSet")) }}
    {{- fail (printf "registry.enabled makes no sense with kind: %s" $v.kind) }}
  {{- end }}
  {{- if and $v.registry.storage.persistent (not $stateful) (not $v.registry.storage.existingClaim) }}
    {{- fail "registry.storage.persistent needs kind: StatefulSet, or name a claim in registry.storage.existingClaim" }}
  {{- end }}
  {{- if and (or $v.autoscaling.enabled (gt (int $v.replicas) 1)) (not $v.registry.storage.existingClaim) (not $v.registry.extraEnv) }}
    {{- fail "several replicas need one storage: name a shared claim in registry.storage.existingClaim, or set object storage in registry.extraEnv" }}
  {{- end }}
{{- end }}
{{- if and $v.autoscaling.enabled (not (has $v.kind (list "Deployment" "StatefulSet"))) }}
  {{- fail (printf "autoscaling makes no sense with kind: %s" $v.kind) }}
{{- end }}
{{- if and $v.edge.installHosts (or (ne $v.kind "DaemonSet") (not $v.edge.registry)) }}
  {{- fail "edge.installHosts needs kind: DaemonSet and edge.registry" }}
{{- end }}
{{- if and $v.corpusFetch.enabled (not $v.corpora.existingClaim) }}
  {{- fail "corpusFetch needs corpora.existingClaim: a claim that all pods can mount" }}
{{- end }}
{{- if and $v.corpusBuild.enabled (or (not $v.corpusBuild.images) (not $v.corpusBuild.publish)) }}
  {{- fail "corpusBuild needs images to build from and publish, where to push the corpus" }}
{{- end }}
{{- end }}
