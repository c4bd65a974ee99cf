//! Real databases for tests: PostgreSQL clusters and a TimescaleDB, started on free loopback ports.
