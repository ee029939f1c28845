# shellcheck shell=bash
# Functions that the scripts share: messages, a lock, installing missing programs, PostgreSQL's programs, database URLs.
# Scripts source this file. It must work with Bash 3.2 (macOS), so it uses no associative arrays, no mapfile and no ${x,,}.
#
# Scripts print progress on stdout. A script that fails prints one line on stderr, with the error, the wrong value and advice.

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
LOCAL="$ROOT/.local"
# Exports LOCAL only for shellcheck, which would report the variable as unused, because it doesn't see the scripts that source this file.
export LOCAL

# shown TEXT: prints the text, with ? for control and format characters, except tabs and line ends. Names and messages from a
# database may contain such characters, and a terminal interprets them: ESC and U+009B begin commands, U+202E reverses the text after it.
shown() {
  local LC_ALL=C
  case "$1" in
    *[!\ -~$'\t\n']*)
      printf '%s\n' "$1" | LC_ALL=C sed -e $'s/[\001-\010\013-\037\177]/?/g' -e $'s/\302[\200-\237\255]/?/g' -e $'s/\330\234/?/g' \
        -e $'s/\341\240\216/?/g' -e $'s/\342\200[\213-\217\250-\256]/?/g' -e $'s/\342\201[\240-\257]/?/g' \
        -e $'s/\357\273\277/?/g' -e $'s/\357\277[\271-\273]/?/g' -e $'s/\363\240[\200-\201]./?/g'
      ;;
    *) printf '%s\n' "$1" ;;
  esac
}

say() { shown "$*"; }

fail() {
  shown "scripts/${0##*/}: $*" >&2
  exit 1
}

# Prints the comment at the top of the script, for --help.
print_help() { sed -n -e '1d' -e '/^#/!q' -e 's/^# \{0,1\}//p' "$0"; }

# value_of OPTION "$@": prints the value after an option. Fails with the option's name if there is none.
value_of() {
  case "${2:-}" in "" | --*) fail "$1 needs a value: see scripts/${0##*/} --help" ;; esac
  printf '%s' "$2"
}

unknown_argument() { fail "unknown argument $1: see scripts/${0##*/} --help"; }

is_root() { [ "$(id -u)" = 0 ]; }

has() { command -v "$1" >/dev/null 2>&1; }

sha256_of_stdin() {
  local sum
  sum="$(if has sha256sum; then sha256sum; else shasum -a 256; fi)"
  printf '%s' "${sum%% *}"
}

command_of() { # PID: prints the process's command line, or nothing; works without ps (minimal containers) too
  if [ -z "$1" ]; then
    return
  elif [ -r "/proc/$1/cmdline" ]; then
    tr '\0' ' ' <"/proc/$1/cmdline" 2>/dev/null || true
  elif has ps; then
    ps -ww -p "$1" -o command= 2>/dev/null || true
  fi
}

port_taken() { # HOST PORT: succeeds if a program listens at this address
  (exec 3<>"/dev/tcp/$1/$2") 2>/dev/null
}

# lock FILE: takes the lock, and waits while another process holds it. The file is a symlink to the owner's process ID, because
# a symlink is created together with its content, atomically. unlock releases the lock. A lock whose owner has ended is free.
lock() {
  local owner said=""
  until ln -s "$$" "$1" 2>/dev/null; do
    owner="$(readlink "$1" || true)"
    if [ -z "$owner" ]; then
      [ -w "$(dirname "$1")" ] || fail "can't write to $(dirname "$1"): use a folder of $(id -un)'s own"
    elif [ -z "$(command_of "$owner")" ]; then
      rm -f "$1"
      continue
    elif [ -z "$said" ]; then
      say "waiting for process $owner, which holds $1"
      said=1
    fi
    sleep 0.2
  done
}

unlock() { if [ "$(readlink "$1" 2>/dev/null)" = "$$" ]; then rm -f "$1"; fi; }

# --- installing missing programs ---

# need WHAT DEBIAN FEDORA ARCH MACOS: on Debian and Ubuntu, installs the packages if the user is root. Otherwise fails with the command
# that installs the packages on this system.
need() {
  if is_root && has apt-get; then
    say "installing $2 (apt-get; takes up to a minute)"
    # shellcheck disable=SC2086 # several packages in one argument
    apt_install $2 || fail "apt-get can't install $2 ($(tail -n 1 "$LOCAL/apt.log")): see $LOCAL/apt.log"
    return
  fi
  local how
  if [ "$(uname)" = Darwin ]; then how="$5"
  elif has apt-get; then how="sudo apt-get install -y $2"
  elif has dnf; then how="sudo dnf install -y $3"
  elif has pacman; then how="sudo pacman -S --noconfirm $4"
  else how="your system's packages (Debian: $2; Fedora: $3)"; fi
  fail "$1 is missing: install it with $how"
}

apt_install() {
  local install="apt-get install -y --no-install-recommends"
  export DEBIAN_FRONTEND=noninteractive UCF_FORCE_CONFFOLD=1
  mkdir -p "$LOCAL"
  # If the first attempt fails, updates the package lists, which may be absent (fresh containers) or out of date.
  $install "$@" >"$LOCAL/apt.log" 2>&1 </dev/null ||
    { apt-get update && $install "$@"; } >>"$LOCAL/apt.log" 2>&1 </dev/null
}

# --- Rust ---

# need_rust [TARGET]: installs the pinned Rust, the C linker that Rust needs, and the target. If the script can't install one of them, fails
# with the command that the user has to run.
need_rust() {
  local channel sysroot
  if ! has cargo && [ -x "$HOME/.cargo/bin/cargo" ]; then export PATH="$HOME/.cargo/bin:$PATH"; fi
  if ! has cargo; then
    fail "Rust is missing: install it with curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y"
  fi
  if ! has cc; then
    need "a C compiler (Rust links with it)" "gcc libc6-dev" gcc "gcc" "xcode-select --install"
  fi
  channel="$(sed -n 's/^channel *= *"\(.*\)"/\1/p' "$ROOT/rust-toolchain.toml")"
  if has rustup && ! rustup which --toolchain "$channel" rustc >/dev/null 2>&1; then
    say "installing Rust $channel"
    rustup toolchain install "$channel" --profile minimal --component rustfmt --component clippy ||
      fail "rustup can't install Rust $channel: see its message above"
  fi
  sysroot="$(cd "$ROOT" && rustc --print sysroot)"
  if [ -z "${1:-}" ] || [ -d "$sysroot/lib/rustlib/$1" ]; then return; fi
  has rustup || fail "Rust's target $1 is missing in $sysroot: install Rust $channel with rustup (https://rustup.rs)"
  say "installing Rust's target $1"
  rustup target add --toolchain "$channel" "$1" || fail "rustup can't add $1: see its message above"
}

# --- the server ---

# serving_process: prints the process ID of the server that scripts/up started, or nothing.
serving_process() {
  local pid
  pid="$(cat "$LOCAL/serve.pid" 2>/dev/null)" || return 0
  case "$(command_of "$pid")" in *spin.toml*) printf '%s' "$pid" ;; esac
}

# http_status HOST PORT PATH: prints the status of a GET, or 000.
http_status() {
  local host="$1" status=""
  case "$1" in *:*) host="[$1]" ;; esac
  if has curl; then
    curl --noproxy '*' -s -m 10 -o /dev/null -w '%{http_code}' "http://$host:$2$3" || true
    return
  fi
  {
    exec 3<>"/dev/tcp/$1/$2" &&
      printf 'GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n' "$3" "$host:$2" >&3 &&
      read -r -t 10 _ status _ <&3
  } 2>/dev/null || true
  exec 3>&-
  printf '%s' "${status:-000}"
}

# --- PostgreSQL's programs ---

# Makes the path in REZNET_POSTGRES_BIN absolute, because servers are started from another folder.
case "${REZNET_POSTGRES_BIN:-/}" in /*) ;; *) REZNET_POSTGRES_BIN="$PWD/$REZNET_POSTGRES_BIN" ;; esac

# Prints the folders that may contain PostgreSQL's programs, in order of preference. The folder in REZNET_POSTGRES_BIN comes first.
postgres_folders() {
  if [ -n "${REZNET_POSTGRES_BIN:-}" ]; then printf '%s\n' "$REZNET_POSTGRES_BIN"; fi
  if has pg_config; then pg_config --bindir; fi
  printf '%s\n' /usr/lib/postgresql/*/bin | sort -t / -k 5,5nr
  printf '%s\n' /usr/pgsql-*/bin | sort -t - -k 2,2nr
  printf '%s\n' "${HOMEBREW_PREFIX:-/opt/homebrew}"/opt/postgresql@*/bin /usr/local/opt/postgresql@*/bin |
    sort -t @ -k 2,2nr
  echo /Applications/Postgres.app/Contents/Versions/latest/bin
  printf '%s\n' "$PATH" | tr ':' '\n'
}

# find_postgres MAJOR: prints the folder of a complete server, of that major version if possible. In REZNET_POSTGRES_BIN, accepts any
# version, and a folder without psql, because a build of the server alone has no psql.
find_postgres() {
  local folder first="" program
  if [ -n "${REZNET_POSTGRES_BIN:-}" ]; then
    for program in initdb pg_ctl postgres; do
      [ -x "$REZNET_POSTGRES_BIN/$program" ] ||
        fail "REZNET_POSTGRES_BIN is $REZNET_POSTGRES_BIN, but this folder has no program $program:\
 set it to the folder that holds initdb, pg_ctl and postgres, or unset it"
    done
    printf '%s' "$REZNET_POSTGRES_BIN"
    return
  fi
  while IFS= read -r folder; do
    if ! [ -x "$folder/initdb" ] || ! [ -x "$folder/postgres" ] || ! [ -x "$folder/psql" ]; then continue; fi
    if [ -z "$1" ] || [ "$(major_of "$folder")" = "$1" ]; then
      printf '%s' "$folder"
      return
    fi
    first="${first:-$folder}"
  done <<FOLDERS
$(postgres_folders)
FOLDERS
  printf '%s' "$first"
}

major_of() { "$1/postgres" --version | sed 's/[^0-9]*\([0-9]*\).*/\1/'; } # FOLDER

# need_postgres: sets PG_BIN to the folder of the server's programs. If the programs are missing, installs them, or fails with the command
# that installs them (see need).
need_postgres() {
  PG_BIN="$(find_postgres "")"
  if [ -n "$PG_BIN" ]; then return; fi
  # Stops Debian's package from creating and starting its own cluster.
  if is_root && has apt-get && [ ! -e /etc/postgresql-common/createcluster.conf ]; then
    mkdir -p /etc/postgresql-common
    echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
  fi
  need "PostgreSQL's server" "postgresql postgresql-client" "postgresql-server postgresql-contrib" postgresql \
    "brew install postgresql@17"
  PG_BIN="$(find_postgres "")"
  if [ -z "$PG_BIN" ]; then fail "PostgreSQL's programs aren't in the expected folders: put their folder on PATH"; fi
}

# need_psql: sets PSQL to the path of psql. Prefers the psql in a PostgreSQL installation's folder, because Debian's /usr/bin/psql is a
# slow wrapper.
need_psql() {
  local folder
  PSQL=""
  while IFS= read -r folder; do
    if [ -x "$folder/psql" ]; then
      PSQL="$folder/psql"
      return
    fi
  done <<FOLDERS
$(postgres_folders)
FOLDERS
  need psql postgresql-client postgresql postgresql "brew install libpq && brew link --force libpq"
  PSQL="$(command -v psql)"
}

# --- database URLs ---

# Names of libpq's parameters, each with its environment variable. Parameters without a variable, or with a variable that older
# programs do not know, are passed to psql as arguments. No such parameter is a secret.
URL_PARAMETERS=" user=PGUSER password=PGPASSWORD host=PGHOST hostaddr=PGHOSTADDR port=PGPORT dbname=PGDATABASE options=PGOPTIONS
 application_name=PGAPPNAME connect_timeout=PGCONNECT_TIMEOUT client_encoding=PGCLIENTENCODING sslmode=PGSSLMODE
 sslcompression=PGSSLCOMPRESSION sslcert=PGSSLCERT sslkey=PGSSLKEY sslrootcert=PGSSLROOTCERT sslcrl=PGSSLCRL
 requirepeer=PGREQUIREPEER ssl_min_protocol_version=PGSSLMINPROTOCOLVERSION ssl_max_protocol_version=PGSSLMAXPROTOCOLVERSION
 gssencmode=PGGSSENCMODE krbsrvname=PGKRBSRVNAME gsslib=PGGSSLIB target_session_attrs=PGTARGETSESSIONATTRS
 channel_binding=PGCHANNELBINDING service=PGSERVICE passfile=PGPASSFILE
 sslcrldir= sslsni= sslcertmode= sslnegotiation= require_auth= load_balance_hosts= gssdelegation= min_protocol_version=
 max_protocol_version= keepalives= keepalives_idle= keepalives_interval= keepalives_count= tcp_user_timeout=
 fallback_application_name= "

trim() { # TEXT: sets trimmed, the text without whitespace at its ends
  trimmed="${1#"${1%%[![:space:]]*}"}"
  trimmed="${trimmed%"${trimmed##*[![:space:]]}"}"
}

# percent_decode TEXT: sets decoded. Fails if a % has no two hexadecimal digits after it, or for %00.
percent_decode() {
  local rest="$1"
  case "$rest" in *%00*) return 1 ;; esac
  while :; do
    case "$rest" in *%*) rest="${rest#*%}" ;; *) break ;; esac
    case "$rest" in [0-9A-Fa-f][0-9A-Fa-f]*) ;; *) return 1 ;; esac
  done
  rest="${1//\\/\\\\}"
  printf -v decoded '%b' "${rest//%/\\x}"
}

set_parameter() { # NAME VALUE: stores a parameter of the URL. Fails if libpq has no such parameter.
  local variable value
  case "$1" in
    ssl)
      # The spelling of JDBC's URLs, which libpq accepts too.
      if [ "$2" != true ]; then return 1; fi
      set_parameter sslmode require
      return
      ;;
    *[!a-z_]*) return 1 ;;
  esac
  variable="${URL_PARAMETERS#* "$1"=}"
  if [ "$variable" = "$URL_PARAMETERS" ]; then return 1; fi
  variable="${variable%%[[:space:]]*}"
  case "$1" in user | host | port | dbname) ;; *) url_private=(${url_private[@]+"${url_private[@]}"} "$2") ;; esac
  if [ -n "$variable" ]; then
    url_variables=(${url_variables[@]+"${url_variables[@]}"} "$variable=$2")
  else
    value="${2//\\/\\\\}"
    url_conninfo="$url_conninfo${url_conninfo:+ }$1='${value//\'/\\\'}'"
  fi
  case "$1" in
    user) url_user="$2" ;;
    host) url_host="$2" ;;
    port) url_port="$2" ;;
    dbname) url_database="$2" ;;
  esac
}

# parse_url URL: parses a database URL; no other code may parse one. Sets url_variables (VARIABLE=value, for libpq), url_conninfo
# (parameters without a variable), and for messages url_user, url_host, url_port, url_database. Fails if the URL is malformed. After such a
# failure, no part of the URL may be shown or passed to a program, because any part may contain a part of the password. If libpq doesn't
# know a parameter, sets url_unknown to the parameter's name. Sets url_private to the values that messages must not repeat.
parse_url() {
  local rest="$1" credentials="" hosts="" query="" part host port ports="" names="" after_password="" LC_ALL=C
  url_variables=() url_private=() url_conninfo="" url_user="" url_host="" url_port="" url_database="" url_unknown=""
  case "$rest" in *[[:cntrl:]]*) return 1 ;; esac
  rest="${rest#*://}"
  # Every @ and / in a user or a password must be percent-encoded, because an unencoded one makes unclear where the password ends.
  case "$rest" in
    *@*@*) return 1 ;;
    *@*)
      credentials="${rest%%@*}" rest="${rest#*@}"
      case "$credentials" in */*) return 1 ;; esac
      ;;
  esac
  hosts="${rest%%[/?]*}"
  rest="${rest#"$hosts"}"
  case "$rest" in *\?*) query="${rest#*\?}" rest="${rest%%\?*}" ;; esac
  rest="${rest#/}"
  case "$rest" in */* | *" "*) return 1 ;; esac

  case "$credentials" in
    *:*)
      percent_decode "${credentials#*:}" || return 1
      set_parameter password "$decoded"
      credentials="${credentials%%:*}"
      ;;
  esac
  if [ -n "$credentials" ]; then
    percent_decode "$credentials" || return 1
    set_parameter user "$decoded"
  fi

  part="$hosts,"
  while [ -n "$part" ]; do
    host="${part%%,*}" part="${part#*,}" port=""
    case "$host" in
      \[*\] | \[*\]:*) port="${host##*\]}" host="${host%\]*}" host="${host#\[}" ;;
      *:*) port=":${host#*:}" host="${host%%:*}" ;;
    esac
    percent_decode "$host" || return 1
    host="$decoded"
    case "$host" in
      /*) case "$host" in *,*) return 1 ;; esac ;;
      *:*) case "$host" in *[!0-9a-zA-Z:.%]*) return 1 ;; esac ;;
      *[!0-9a-zA-Z._-]*) return 1 ;;
    esac
    case "$port" in
      "" | :) port="" ;;
      :*[!0-9]* | :??????*) return 1 ;;
      :*) port="${port#:}"; if [ "$port" -gt 65535 ] || [ "$port" -lt 1 ]; then return 1; fi ;;
      *) return 1 ;;
    esac
    names="$names$host${part:+,}" ports="$ports$port${part:+,}"
  done
  case "$names" in *[!,]*) set_parameter host "$names" ;; esac
  case "$ports" in *[!,]*) set_parameter port "$ports" ;; esac
  if [ -n "$rest" ]; then
    percent_decode "$rest" || return 1
    set_parameter dbname "$decoded"
  fi

  while [ -n "$query" ]; do
    part="${query%%&*}" query="${query#"$part"}" query="${query#&}"
    case "$part" in *=*) ;; *) return 1 ;; esac
    percent_decode "${part%%=*}" || return 1
    host="$decoded"
    percent_decode "${part#*=}" || return 1
    if ! set_parameter "$host" "$decoded"; then
      # Shows no name after a password, because the name may be the rest of a password that contains an &.
      case "$after_password$host" in *[!a-z_]* | "") ;; *) url_unknown="$host" ;; esac
      return 1
    fi
    case "$host" in *password) after_password=! ;; esac
  done
}

# choose_database [URL]: sets DATABASE_URL to the URL from --database, from the environment or from .local/database-url, and DATABASE_SOURCE to
# the name of this source, for messages.
choose_database() {
  if [ -n "${1:-}" ]; then
    DATABASE_URL="$1" DATABASE_SOURCE=--database
  elif [ -n "${DATABASE_URL:-}" ]; then
    DATABASE_SOURCE="${DATABASE_SOURCE:-\$DATABASE_URL}" # scripts/up exports both, and knows the original source
  elif [ -s "$LOCAL/database-url" ]; then
    DATABASE_URL="$(cat "$LOCAL/database-url")" DATABASE_SOURCE=.local/database-url
  else
    fail "no database given: set DATABASE_URL, give --database postgres://..., or run scripts/up for a private one"
  fi
  # Removes white space, because editors and secret stores add a newline to a value.
  trim "$DATABASE_URL"
  DATABASE_URL="$trimmed"
  case "$DATABASE_URL" in
    postgres://* | postgresql://*) ;;
    *) fail "$DATABASE_SOURCE isn't a postgres:// URL: give postgres://USER:PASSWORD@HOST:PORT/DATABASE" ;;
  esac
  require_url
}

require_url() { # parses DATABASE_URL, or fails without showing any of it
  if parse_url "$DATABASE_URL"; then return; fi
  if [ -n "$url_unknown" ]; then
    fail "the URL in ${DATABASE_SOURCE:-DATABASE_URL} has the parameter $url_unknown, which psql doesn't know: remove it"
  fi
  fail "the URL in ${DATABASE_SOURCE:-DATABASE_URL} is malformed: give postgres://USER:PASSWORD@HOST:PORT/DATABASE, and write special\
 characters of the user and the password percent-encoded (@ as %40, / as %2F, : as %3A, % as %25)"
}

# Prints the database's address for messages, without the password. Call parse_url first.
database_label() {
  local host="$url_host"
  case "$host" in *,*) ;; *:*) host="[$host]" ;; esac
  printf 'postgres://%s%s%s/%s' "${url_user:+$url_user@}" "$host" "${url_port:+:$url_port}" "$url_database" | tr '[:cntrl:]' '?'
}

# database_psql ARGUMENT…: runs psql on $DATABASE_URL. Parameters go into environment variables if libpq has one for them, because
# other users can see a command line.
database_psql() {
  local parameter
  require_url
  # psql never asks for a password (-w). LC_ALL=C makes the messages of psql and libpq English. The server's messages are in its own
  # language.
  local -x PGCONNECT_TIMEOUT="${PGCONNECT_TIMEOUT:-10}" LC_ALL=C
  for parameter in ${url_variables[@]+"${url_variables[@]}"}; do
    # Appends the caller's PGOPTIONS to the options in the URL. If both set the same parameter, PostgreSQL uses the last value.
    if [ "${parameter%%=*}" = PGOPTIONS ] && [ -n "${PGOPTIONS:-}" ]; then parameter="$parameter $PGOPTIONS"; fi
    local -x "$parameter"
  done
  local -x PGCLIENTENCODING=UTF8
  "$PSQL" -X -q -w -v ON_ERROR_STOP=1 ${url_conninfo:+-d "$url_conninfo"} "$@"
}

# The possible causes of a failed connection, for errors that connection_advice doesn't recognize. It can compare only the text of an error,
# because psql shows no SQLSTATE for a failed connection, and the server's text may be in another language.
CONNECTION_CAUSES="check the address and the port, the user and the password, the name of the database, the privileges LOGIN and\
 CONNECT, pg_hba.conf, TLS (sslmode), and whether all connections are taken"

# connection_advice LINE: prints the advice on one failed attempt to connect. LINE is psql's error. If LINE is unknown, prints all possible
# causes.
connection_advice() {
  case "$1" in
    *": FATAL:  password authentication failed for user "* | *"no password supplied")
      echo "the database refuses the user or the password: correct them" ;;
    *": FATAL:  database \""*"\" does not exist")
      echo "the database doesn't exist: create it (createdb), or correct its name" ;;
    *": FATAL:  no pg_hba.conf entry for "*)
      echo "pg_hba.conf on the server has no line for this client, user, database and TLS mode: add one, or connect as it allows" ;;
    *": FATAL:  role \""*"\" is not permitted to log in")
      echo "the role lacks LOGIN: an administrator runs ALTER ROLE … LOGIN" ;;
    *": FATAL:  permission denied for database "*)
      echo "the role lacks CONNECT on the database: an administrator runs GRANT CONNECT ON DATABASE" ;;
    *": FATAL:  sorry, too many clients already" | *": FATAL:  remaining connection slots are reserved"* | \
      *": FATAL:  too many connections for "*)
      echo "all its connections are taken: close some, or allow more" ;;
    *": Connection refused" | *": No such file or directory")
      echo "no server listens at this address: start PostgreSQL (scripts/postgres start for the private one), or correct the address" ;;
    *"could not translate host name "*) echo "its host name is unknown: correct it" ;;
    *": timeout expired" | *": Connection timed out") echo "no answer in time: check host, port and firewall" ;;
    *) echo "$CONNECTION_CAUSES" ;;
  esac
}

# explain_database FILE: fails with one line about a failed connection: the text that psql wrote to FILE, and the advice.
explain_database() {
  local text advice="" line each
  # Removes lines that begin with white space, because they continue the line before.
  text="$(sed -e 's/^psql: error: //' -e 's/^[^ ]*:[0-9]*: //' -e '/^[[:space:]]/d' -e '/^$/d' "$1")"
  # Replaces private values in the text, because libpq quotes a value that it can't use.
  for each in ${url_private[@]+"${url_private[@]}"}; do
    text="${text//\"$each\"/\"…\"}"
  done
  while IFS= read -r line; do
    each="$(connection_advice "$line")"
    # psql reports each address that it has tried. If the reasons differ, the advice is the list of all possible causes.
    if [ -n "$advice" ] && [ "$advice" != "$each" ]; then each="$CONNECTION_CAUSES"; fi
    advice="$each"
  done <<TEXT
$text
TEXT
  fail "can't use $(database_label) of $DATABASE_SOURCE: $(printf '%s' "${text:-psql failed}" | tr '\n' ' '): $advice"
}

# Settings for a script's session, which override those of the role and the database, so that no value depends on a language or a
# format.
# shellcheck disable=SC2034 # the scripts use this variable
SESSION_SETTINGS="RESET ALL; SET search_path = public; SET client_min_messages = warning; SET DateStyle = ISO; SET TimeZone = 'UTC';
SET IntervalStyle = postgres; SET bytea_output = hex; SET extra_float_digits = 1; SET standard_conforming_strings = on;
SET quote_all_identifiers = off; SET row_security = on; SET jit = off; SET default_transaction_read_only = off;
SET default_transaction_isolation = 'read committed'; SET default_transaction_deferrable = off; SET check_function_bodies = on;
SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0;
SELECT count(set_config(name, '0', false)) AS settings FROM pg_settings WHERE name IN ('transaction_timeout', 'idle_session_timeout') \\gset
"
