{{- /* A pod of a pool: `root`, `pool`, `scaled` (KEDA started it, and it leaves when it has nothing to do). */ -}}
{{- define "layercut.workerPod" -}}
{{- $workers := int (include "layercut.workersOfPod" .pool) -}}
metadata:
  labels:
    {{- include "layercut.labels" (dict "root" .root "component" "worker" "pool" .pool.name) | nindent 4 }}
    layercut/started-by: {{ ternary "keda" "deployment" .scaled }}
  annotations:
    checksum/config: {{ toYaml .root.Values.config | sha256sum }}
    # What makes room on nodes waits for a job's end; a drain does not, and has it handed back with its checkpoint.
    cluster-autoscaler.kubernetes.io/safe-to-evict: "false"
    karpenter.sh/do-not-disrupt: "true"
    {{- with .pool.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  {{- include "layercut.podSettings" (dict "root" .root "of" .pool) | nindent 2 }}
  restartPolicy: {{ ternary "Never" "Always" .scaled }}
  terminationGracePeriodSeconds: {{ include "layercut.workerGraceSeconds" .pool }}
  containers:
    - name: worker
      image: {{ include "layercut.image" (dict "root" .root "image" .root.Values.workers.image) }}
      imagePullPolicy: {{ .root.Values.workers.image.pullPolicy }}
      {{- if gt $workers 1 }}
      command: [layercut, worker, --devices, auto]
      {{- else }}
      command: [layercut, worker]
      {{- end }}
      {{- include "layercut.containerSecurity" . | nindent 6 }}
      envFrom:
        {{- include "layercut.envFrom" (dict "root" .root "component" "worker") | nindent 8 }}
      env:
        - {name: LAYERCUT_DEVICE, value: {{ .pool.device | quote }}}
        - {name: LAYERCUT_WORKER_HOST, value: "0.0.0.0"}
        - {name: LAYERCUT_WORKER_PORT, value: "8001"}
        - {name: LAYERCUT_KILL_GRACE_SECONDS, value: {{ .pool.killGraceSeconds | quote }}}
        {{- if .scaled }}
        - {name: LAYERCUT_IDLE_EXIT_SECONDS, value: {{ .root.Values.workers.idleExitSeconds | quote }}}
        {{- end }}
        {{- include "layercut.env" (dict "root" .root "component" "worker") | nindent 8 }}
      ports:
        {{- range $number := until $workers }}
        - {name: {{ ternary "metrics" (printf "metrics-%d" $number) (eq $number 0) }}, containerPort: {{ add 8001 $number }}}
        {{- end }}
      # Whether its loops turn, not whether its job is fast. torch takes a while to be imported.
      startupProbe:
        {{- include "layercut.workerProbe" $workers | nindent 8 }}
        periodSeconds: 5
        timeoutSeconds: 15
        failureThreshold: 60
      livenessProbe:
        {{- include "layercut.workerProbe" $workers | nindent 8 }}
        periodSeconds: 30
        timeoutSeconds: 15
      readinessProbe:
        {{- include "layercut.workerProbe" $workers | nindent 8 }}
        periodSeconds: 30
        timeoutSeconds: 15
      resources:
        {{- include "layercut.workerResources" .pool | nindent 8 }}
      volumeMounts:
        {{- include "layercut.mounts" .root | nindent 8 }}
  volumes:
    - name: data
      {{- if .pool.scratch.storageClassName }}
      ephemeral:
        volumeClaimTemplate:
          spec:
            accessModes: [ReadWriteOnce]
            storageClassName: {{ .pool.scratch.storageClassName }}
            resources: {requests: {storage: {{ .pool.scratch.size }}}}
      {{- else }}
      # Without a limit, at which the kubelet would evict the pod; the room is asked for in the worker's resources.
      emptyDir: {}
      {{- end }}
    {{- include "layercut.volumes" .root | nindent 4 }}
{{- end -}}

{{- /* Of several workers, each answers on the next port. */ -}}
{{- define "layercut.workerProbe" -}}
{{- if gt . 1 -}}
exec:
  command:
    - python
    - -c
    - "import urllib.request as web; [web.urlopen(f'http://127.0.0.1:{port}/healthz', timeout=4) for port in range(8001, {{ add 8001 . }})]"
{{- else -}}
httpGet: {path: /healthz, port: metrics}
{{- end -}}
{{- end -}}

{{- define "layercut.workerResources" -}}
{{- $resources := deepCopy .resources -}}
{{- if not .scratch.storageClassName -}}
{{- $resources = merge $resources (dict "requests" (dict "ephemeral-storage" .scratch.size)) -}}
{{- end -}}
{{- if gt (int .gpus) 0 -}}
{{- $gpus := dict .gpuResource (toString .gpus) -}}
{{- $resources = mergeOverwrite $resources (dict "limits" $gpus) (dict "requests" $gpus) -}}
{{- end -}}
{{- toYaml $resources -}}
{{- end -}}
