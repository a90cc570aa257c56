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
{{/* What every worker's container has, beside the gateway or alone. */}}
{{- define "aegis.password" -}}
# libpq takes a password file that only its owner may read
- name: password
  image: "{{ .Values.image.workers }}:{{ include "aegis.tag" . }}"
  command: [sh, -c, "install -m 600 /run/secret/worker-pgpass /run/aegis/ && install -m 644 /run/secret/ca.pem /run/aegis/"]
  securityContext: {{- include "aegis.security" . | nindent 4 }}
  volumeMounts:
    - {name: secret, mountPath: /run/secret, readOnly: true}
    - {name: run, mountPath: /run/aegis}
{{- end -}}
{{- define "aegis.workerEnv" -}}
- {name: AEGIS_DATABASE_URL, value: {{ include "aegis.workerUrl" . | quote }}}
- {name: AEGIS_BUS_NATS_URL, value: {{ .Values.nats.url | quote }}}
- {name: AEGIS_BUS_NATS_REPLICAS, value: {{ .Values.nats.replicas | quote }}}
{{- if .Values.nats.secret }}
- {name: AEGIS_BUS_NATS_CA_FILE, value: /run/nats/ca.pem}
{{- end }}
- {name: AEGIS_METRICS_LISTEN, value: "0.0.0.0:9400"}
- {name: AEGIS_EXEC_OBJECT_DIR, value: /var/lib/aegis/objects}
{{- if .Values.policy }}
- {name: AEGIS_GATE_POLICY_FILE, value: /etc/aegis-policy/policy.yaml}
{{- end }}
{{- range $name, $value := .Values.workers.env }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end -}}
{{- define "aegis.workerProbes" -}}
readinessProbe:
  httpGet: {path: /healthz, port: 9400}
  periodSeconds: 5
livenessProbe:
  httpGet: {path: /healthz, port: 9400}
  periodSeconds: 20
  failureThreshold: 6
{{- end -}}
{{- define "aegis.workerVolumes" -}}
- {name: secret, secret: {secretName: {{ .Values.database.secret }}, defaultMode: 0440, items: [{key: worker-pgpass, path: worker-pgpass}, {key: ca.pem, path: ca.pem}]}}
- {name: run, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
- {name: objects, emptyDir: {}}
{{- if .Values.nats.secret }}
- {name: nats, secret: {secretName: {{ .Values.nats.secret }}, defaultMode: 0440}}
{{- end }}
{{- end -}}
