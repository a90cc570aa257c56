#!/bin/sh
# migrate.sh: bring the schema of compose.yaml's database up to date, and give
# the roles the passwords of the secrets. Doing it again changes nothing.
set -eu
PGPASSWORD=$(cat /run/secrets/postgres_password)
export PGPASSWORD
url="host=postgres dbname=aegis user=postgres"
aegisctl db migrate --database "$url"
psql -X -q -v ON_ERROR_STOP=1 -d "$url" \
    -v gateway="$(cat /run/secrets/gateway_password)" -v worker="$(cat /run/secrets/worker_password)" <<'SQL'
ALTER ROLE aegis_gateway PASSWORD :'gateway';
ALTER ROLE aegis_worker PASSWORD :'worker';
SQL
