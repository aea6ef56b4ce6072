{{- /* What all pods share: who they run as, what they may write, what they know. `root`, `component`, `of` (their values). */ -}}
{{- define "layercut.podSettings" -}}
serviceAccountName: {{ include "layercut.serviceAccountName" .root }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with .of.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .of.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .of.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .of.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .of.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- end -}}

{{- define "layercut.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end -}}

{{- /* The variables of a container: those of the chart, then those of the secret. */ -}}
{{- define "layercut.env" -}}
- {name: LAYERCUT_DATA_DIR, value: /var/lib/layercut}
{{- if .root.Values.folders.models }}
- {name: LAYERCUT_MODEL_ROOTS, value: /models}
{{- end }}
{{- if .root.Values.folders.data }}
- {name: LAYERCUT_DATA_ROOTS, value: /data}
{{- end }}
{{- $secret := required "existingSecret is the name of a secret with the URLs and keys: README.md" .root.Values.existingSecret }}
{{- $keys := merge (dict) (index .root.Values.secretKeys .component) .root.Values.secretKeys.shared }}
{{- range $name := keys $keys | sortAlpha }}
- name: {{ $name }}
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: {{ index $keys $name }}}}
{{- end }}
{{- end -}}

{{- define "layercut.envFrom" -}}
- configMapRef: {name: {{ include "layercut.fullname" .root }}-{{ .component }}}
{{- end -}}

{{- define "layercut.mounts" -}}
- {name: data, mountPath: /var/lib/layercut}
- {name: hub, mountPath: /var/cache/layercut}
- {name: tmp, mountPath: /tmp}
{{- if .Values.folders.models }}
- {name: models, mountPath: /models, readOnly: true}
{{- end }}
{{- if .Values.folders.data }}
- {name: datasets, mountPath: /data, readOnly: true}
{{- end }}
{{- end -}}

{{- /* All volumes but `data`. */ -}}
{{- define "layercut.volumes" -}}
- name: hub
{{- if .Values.hubCacheClaim }}
  persistentVolumeClaim: {claimName: {{ .Values.hubCacheClaim }}}
{{- else }}
  emptyDir: {}
{{- end }}
- name: tmp
  emptyDir: {}
{{- with .Values.folders.models }}
- name: models
  persistentVolumeClaim: {claimName: {{ . }}, readOnly: true}
{{- end }}
{{- with .Values.folders.data }}
- name: datasets
  persistentVolumeClaim: {claimName: {{ . }}, readOnly: true}
{{- end }}
{{- end -}}
