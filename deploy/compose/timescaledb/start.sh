#!/bin/sh
# Runs as root at the start of the container: secrets are readable by the user who made them, and PostgreSQL wants
# its key for itself.
set -eu
for name in database_certificate database_key database_password grafana_database_password; do
    install -o postgres -g postgres -m 0400 "/run/secrets/$name" "/run/forecare/$name"
done
chown postgres:postgres /run/forecare /var/run/postgresql
exec docker-entrypoint.sh postgres \
    -c hba_file=/forecare/pg_hba.conf \
    -c ssl=on \
    -c ssl_cert_file=/run/forecare/database_certificate \
    -c ssl_key_file=/run/forecare/database_key \
    -c ssl_min_protocol_version=TLSv1.2 \
    -c password_encryption=scram-sha-256 \
    -c fsync=on \
    -c synchronous_commit=on \
    -c wal_compression=on \
    -c idle_in_transaction_session_timeout=10min \
    -c log_lock_waits=on \
    -c log_min_duration_statement=5s
