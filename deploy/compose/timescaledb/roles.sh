#!/bin/sh
# Runs once, as postgres, when the database is made: Forecare's role owns the database, Grafana's may read.
set -eu
psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username postgres --dbname forecare <<'SQL'
\set owner_password `cat /run/forecare/database_password`
\set reader_password `cat /run/forecare/grafana_database_password`
CREATE EXTENSION IF NOT EXISTS timescaledb;
CREATE ROLE forecare LOGIN PASSWORD :'owner_password';
-- Forecare grants its views, and nothing else, to this role.
CREATE ROLE forecare_read NOLOGIN;
CREATE ROLE grafana LOGIN PASSWORD :'reader_password' IN ROLE forecare_read;
-- A person's dashboard must not be able to stop ingestion.
ALTER ROLE grafana SET default_transaction_read_only = on;
ALTER ROLE grafana SET statement_timeout = '30s';
ALTER ROLE grafana SET search_path = forecare, public;
-- Compiling a query costs seconds where the planner expects too many rows, and saves none here.
ALTER ROLE grafana SET jit = off;
ALTER ROLE grafana CONNECTION LIMIT 20;
REVOKE ALL ON DATABASE forecare FROM PUBLIC;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
ALTER DATABASE forecare OWNER TO forecare;
GRANT CONNECT ON DATABASE forecare TO grafana;
SQL
