-- replication.sql: the role that replicates and rewinds, once, on the primary, in
-- the database postgres. It has no password: it comes with a certificate.
CREATE ROLE aegis_replication LOGIN REPLICATION;
GRANT EXECUTE ON FUNCTION pg_catalog.pg_ls_dir(text, boolean, boolean) TO aegis_replication;
GRANT EXECUTE ON FUNCTION pg_catalog.pg_stat_file(text, boolean) TO aegis_replication;
GRANT EXECUTE ON FUNCTION pg_catalog.pg_read_binary_file(text) TO aegis_replication;
GRANT EXECUTE ON FUNCTION pg_catalog.pg_read_binary_file(text, bigint, bigint, boolean) TO aegis_replication;
