-- Creates the database, its owner, and the API's login. An administrator runs this file before the first migration. The API's login
-- gets no privileges except those that scripts/migrate grants. The postgres image runs this file once, when it creates the database.
-- The passwords are for a laptop, so change them on a server.

CREATE ROLE reznet LOGIN PASSWORD 'reznet';
CREATE ROLE reznet_app NOLOGIN;
CREATE ROLE reznet_migrate NOLOGIN;
CREATE ROLE reznet_api LOGIN PASSWORD 'reznet_api' IN ROLE reznet_app;
-- The performance report needs this privilege to read the statistics of other roles' sessions and statements.
GRANT pg_read_all_stats TO reznet_app;

-- The API requests these settings when it opens a session, but PgBouncer can't pass them on, so the login has them too. The values must
-- be the same as in src/config.rs. statement_timeout is the variable db_statement_timeout_ms.
ALTER ROLE reznet_api SET jit = off;
ALTER ROLE reznet_api SET default_transaction_isolation = 'read committed';
ALTER ROLE reznet_api SET statement_timeout = '5s';
ALTER ROLE reznet_api SET TimeZone = 'UTC';
ALTER ROLE reznet_api SET application_name = 'reznet-edge';

CREATE DATABASE reznet OWNER reznet;
\connect reznet
CREATE EXTENSION pg_stat_statements;
