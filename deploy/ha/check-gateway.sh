#!/bin/sh
# check-gateway.sh: is the gateway of this host ready? For keepalived, once a
# second: /usr/lib/aegis/check-gateway.sh. /readyz answers from what the gateway
# knows already, so asking costs the database nothing.
exec curl -fsS -o /dev/null -m 1 "http://127.0.0.1:${AEGIS_CHECK_PORT:-8088}/readyz"
