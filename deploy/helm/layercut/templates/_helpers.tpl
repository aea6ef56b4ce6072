{{- define "layercut.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "layercut.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "layercut.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "layercut.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "layercut.selectorLabels" -}}
app.kubernetes.io/name: {{ include "layercut.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- with .pool }}
layercut/pool: {{ . }}
{{- end }}
{{- end -}}

{{- define "layercut.labels" -}}
{{ include "layercut.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{- define "layercut.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "layercut.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "layercut.image" -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ default .root.Chart.AppVersion .image.tag }}
{{- end -}}
{{- end -}}

{{- /* Names that the gateway answers to. */ -}}
{{- define "layercut.allowedHosts" -}}
{{- $service := include "layercut.fullname" . -}}
{{- $names := list $service (printf "%s.%s" $service .Release.Namespace) (printf "%s.%s.svc" $service .Release.Namespace) -}}
{{- $names = append $names (printf "%s.%s.svc.cluster.local" $service .Release.Namespace) -}}
{{- if .Values.ingress.enabled -}}{{- $names = append $names .Values.ingress.host -}}{{- end -}}
{{- concat $names .Values.gateway.allowedHosts | join "," -}}
{{- end -}}

{{- /* SIGTERM, the runner's last checkpoint, what it made for the cache and the checkpoint's upload in the same time each,
and the job is handed back: WorkerSettings.leave_seconds. */ -}}
{{- define "layercut.workerGraceSeconds" -}}
{{- add (mul 3 (int .killGraceSeconds)) 30 -}}
{{- end -}}

{{- /* Workers of one pod: one a GPU, or one on the CPU. */ -}}
{{- define "layercut.workersOfPod" -}}
{{- max 1 (int .gpus) -}}
{{- end -}}

{{- /* The pools, each with the defaults that it does not set. */ -}}
{{- define "layercut.pools" -}}
{{- $pools := list -}}
{{- range .Values.workers.pools -}}
{{- $pools = append $pools (mergeOverwrite (deepCopy $.Values.workers.defaults) .) -}}
{{- end -}}
{{- toYaml $pools -}}
{{- end -}}

{{- /* Peers: all addresses of both kinds but those networks, each of which must lie in the block that it is left out of. */ -}}
{{- define "layercut.anywhereBut" -}}
{{- $four := list -}}
{{- $six := list -}}
{{- range . -}}
{{- if contains ":" . -}}{{- $six = append $six . -}}{{- else -}}{{- $four = append $four . -}}{{- end -}}
{{- end -}}
- ipBlock: {cidr: 0.0.0.0/0, except: {{ toJson $four }}}
- ipBlock: {cidr: "::/0", except: {{ toJson $six }}}
{{- end -}}
