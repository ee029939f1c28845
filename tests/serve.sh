# tests/serve.sh: functions that create a database and start a host, for suites that are scripts. Source this file after scripts/lib.sh.
#
# Needs REZNET_TEST_DATABASE_URL and REZNET_TEST_APP_DATABASE_URL (scripts/test starts a cluster), and the component and the
# host built.
# shellcheck shell=bash

host="" database="" server="${REZNET_TEST_DATABASE_URL:?it is not set: run this by scripts/test}"
app_server="${REZNET_TEST_APP_DATABASE_URL:?it is not set: run this by scripts/test}"

stop_serving() {
  if [ -n "$host" ] && kill "$host" 2>/dev/null; then wait "$host" || true; fi
  if [ -n "$database" ]; then
    DATABASE_URL="$server" database_psql -At -c "DROP DATABASE IF EXISTS $database WITH (FORCE)" >/dev/null || true
  fi
}
trap stop_serving EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# make_database NAME: creates and migrates a database, and sets url.
make_database() {
  need_psql
  database="reznet_$1_$$"
  url="${server%/*}/$database"
  DATABASE_URL="$server" database_psql -c "CREATE DATABASE $database"
  scripts/migrate --database "$url" >/dev/null
}

# start_host NAME: serves the database, with the variables of the environment. Sets api to the URL, and log to the path of the host's log.
start_host() {
  local hostport="${server##*@}"
  hostport="${hostport%%/*}"
  log="${REZNET_TEST_LOGS:-$LOCAL}/$1.log" api=""
  SPIN_VARIABLE_DB_URL="${app_server%/*}/$database" SPIN_VARIABLE_DB_HOST="$hostport" \
    target/host/reznet-host --listen 127.0.0.1:0 >"$log" 2>&1 &
  host=$!
  for _ in $(seq 100); do
    api="$(sed -n 's/^Serving //p' "$log")"
    if [ -n "$api" ]; then return; fi
    kill -0 "$host" 2>/dev/null || fail "the host ended: $(tail -n 1 "$log")"
    sleep 0.1
  done
  fail "the host doesn't serve within 10 s: see $log"
}
