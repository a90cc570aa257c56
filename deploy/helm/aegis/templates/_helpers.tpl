{{/* Names and labels that all templates share. */}}
{{- define "aegis.name" -}}
{{- printf "%s" .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- define "aegis.labels" -}}
app.kubernetes.io/name: aegis
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}
{{- define "aegis.tag" -}}
{{- .Values.image.tag | default .Chart.AppVersion -}}
{{- end -}}
{{- define "aegis.workerUrl" -}}
host={{ .Values.database.hosts }} dbname={{ .Values.database.name }} user=aegis_worker passfile=/run/aegis/worker-pgpass sslmode={{ .Values.database.sslmode }} sslrootcert=/run/aegis/ca.pem
{{- end -}}
{{- define "aegis.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65534
runAsGroup: 65534
fsGroup: 65534
seccompProfile: {type: RuntimeDefault}
{{- end -}}
{{- define "aegis.security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}
