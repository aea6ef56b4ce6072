{{- /* Jobs that run, and those that may be claimed now: of a tenant no more than it may run. A job that waits after a
lost attempt is none yet. */ -}}
{{- define "layercut.jobsQuery" -}}
SELECT greatest(0, coalesce(sum(least(asked.jobs, tenants.running_jobs)), 0) - {{ .held }})::bigint FROM (SELECT tenant, count(*) AS jobs FROM jobs WHERE status IN ('running', 'cancelling') OR (status = 'queued' AND (claimable_at IS NULL OR claimable_at <= now())) GROUP BY tenant) AS asked LEFT JOIN tenants ON tenants.id = asked.tenant
{{- end -}}

{{- define "layercut.trigger.postgresql" -}}
- type: postgresql
  metadata:
    query: {{ include "layercut.jobsQuery" . | quote }}
    targetQueryValue: {{ .each | quote }}
  authenticationRef: {name: {{ include "layercut.fullname" .root }}-database}
{{- end -}}

{{- define "layercut.trigger.prometheus" -}}
- type: prometheus
  metadata:
    serverAddress: {{ required "workers.prometheusAddress is where Prometheus answers" .root.Values.workers.prometheusAddress }}
    query: clamp_min(max(layercut_queue_depth) + max(layercut_running_jobs) - {{ .held }}, 0)
    threshold: {{ .each | quote }}
{{- end -}}
