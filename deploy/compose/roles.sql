-- What an administrator provides before the first migration: the database, its owner, and the API's login with no more
-- privileges than scripts/migrate grants it. The postgres image runs this file once, when it creates the database.
-- The passwords are for a laptop.

CREATE ROLE reznet LOGIN PASSWORD 'reznet';
CREATE ROLE reznet_app NOLOGIN;
CREATE ROLE reznet_migrate NOLOGIN;
CREATE ROLE reznet_api LOGIN PASSWORD 'reznet_api' IN ROLE reznet_app;
-- For the performance report: other users' rows of the statistics.
GRANT pg_read_all_stats TO reznet_app;

-- What the API asks for at the start of a session, and PgBouncer can't pass on. The same as in src/config.rs;
-- statement_timeout is db_statement_timeout_ms.
ALTER ROLE reznet_api SET jit = off;
ALTER ROLE reznet_api SET default_transaction_isolation = 'read committed';
ALTER ROLE reznet_api SET statement_timeout = '5s';
ALTER ROLE reznet_api SET TimeZone = 'UTC';
ALTER ROLE reznet_api SET application_name = 'reznet-edge';

CREATE DATABASE reznet OWNER reznet;
\connect reznet
CREATE EXTENSION pg_stat_statements;
