# shellcheck shell=bash
# What the scripts share: messages, a lock, installing what's missing, PostgreSQL's programs, database URLs.
# Sourced, never run. Bash 3.2 (macOS) is enough, so: no associative arrays, no mapfile, no ${x,,}.
#
# Progress goes to stdout; stderr gets one line when a script fails: what happened, with which value, what to do.

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
LOCAL="$ROOT/.local"
# What shellcheck can't see: the scripts use it.
export LOCAL

say() { printf '%s\n' "$*"; }

fail() {
  printf 'scripts/%s: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

# --help prints the comment a script opens with.
print_help() { sed -n -e '1d' -e '/^#/!q' -e 's/^# \{0,1\}//p' "$0"; }

# value_of OPTION "$@": the value after an option, or a failure that names it.
value_of() {
  case "${2:-}" in "" | --*) fail "$1 needs a value: see scripts/${0##*/} --help" ;; esac
  printf '%s' "$2"
}

unknown_argument() { fail "unknown argument $1: see scripts/${0##*/} --help"; }

is_root() { [ "$(id -u)" = 0 ]; }

has() { command -v "$1" >/dev/null 2>&1; }

sha256_of_stdin() { if has sha256sum; then sha256sum; else shasum -a 256; fi | cut -d ' ' -f 1; }

command_of() { # PID: its command line, or nothing; works without ps (minimal containers) too
  if [ -z "$1" ]; then
    return
  elif [ -r "/proc/$1/cmdline" ]; then
    tr '\0' ' ' <"/proc/$1/cmdline" 2>/dev/null || true
  elif has ps; then
    ps -ww -p "$1" -o command= 2>/dev/null || true
  fi
}

port_taken() { # HOST PORT: does something listen there?
  (exec 3<>"/dev/tcp/$1/$2") 2>/dev/null
}

# lock FILE: waits until no other process holds it. The file is a symlink that names the owner's process, because
# making one is atomic and shows its content at once. Released by unlock, or by the owner's death.
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

# --- installing what's missing ---

# need WHAT DEBIAN FEDORA ARCH MACOS: packages by system. As root on Debian and Ubuntu they're installed; elsewhere the
# script ends with the one command that installs them.
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
  # The package lists may be absent (fresh containers) or out of date: fetch them when it fails without.
  $install "$@" >"$LOCAL/apt.log" 2>&1 </dev/null ||
    { apt-get update && $install "$@"; } >>"$LOCAL/apt.log" 2>&1 </dev/null
}

# --- Rust ---

# need_rust [TARGET]: the pinned Rust, the C linker it needs, and a target.
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

# serving_process: the server that scripts/up started, or nothing.
serving_process() {
  local pid
  pid="$(cat "$LOCAL/serve.pid" 2>/dev/null)" || return 0
  case "$(command_of "$pid")" in *spin.toml*) printf '%s' "$pid" ;; esac
}

# http_status HOST PORT PATH: the status of a GET, or 000.
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

# Servers are started from another folder than this.
case "${REZNET_POSTGRES_BIN:-/}" in /*) ;; *) REZNET_POSTGRES_BIN="$PWD/$REZNET_POSTGRES_BIN" ;; esac

# Folders that may hold them, best first. The one that REZNET_POSTGRES_BIN names comes before all.
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

# find_postgres MAJOR: prints the folder with a complete server, of that major version if there's one. REZNET_POSTGRES_BIN
# is taken whatever its version, and without a psql too: builds of the server alone have none.
find_postgres() {
  local folder first="" program
  if [ -n "${REZNET_POSTGRES_BIN:-}" ]; then
    for program in initdb pg_ctl postgres; do
      [ -x "$REZNET_POSTGRES_BIN/$program" ] ||
        fail "REZNET_POSTGRES_BIN is $REZNET_POSTGRES_BIN, and there's no program $program in it:\
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

# need_postgres: sets PG_BIN to the server's programs, and installs them if it can.
need_postgres() {
  PG_BIN="$(find_postgres "")"
  if [ -n "$PG_BIN" ]; then return; fi
  # Debian's package would make and start a cluster of its own.
  if is_root && has apt-get && [ ! -e /etc/postgresql-common/createcluster.conf ]; then
    mkdir -p /etc/postgresql-common
    echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
  fi
  need "PostgreSQL's server" "postgresql postgresql-client" "postgresql-server postgresql-contrib" postgresql \
    "brew install postgresql@17"
  PG_BIN="$(find_postgres "")"
  if [ -z "$PG_BIN" ]; then fail "PostgreSQL's programs aren't where they're expected: put their folder on PATH"; fi
}

# need_psql: sets PSQL. Debian's own /usr/bin/psql is a slow wrapper, so it comes last.
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

mask() { # URL: the same without its password
  printf '%s' "$1" | sed -e 's|\(://[^:@/]*\):[^@/]*@|\1:***@|' -e 's|\([?&]password=\)[^&]*|\1***|'
}

# choose_database [URL]: sets DATABASE_URL and DATABASE_SOURCE, from --database, the environment or .local/database-url.
choose_database() {
  if [ -n "${1:-}" ]; then
    DATABASE_URL="$1" DATABASE_SOURCE=--database
  elif [ -n "${DATABASE_URL:-}" ]; then
    DATABASE_SOURCE="${DATABASE_SOURCE:-\$DATABASE_URL}" # scripts/up says where it has it from
  elif [ -s "$LOCAL/database-url" ]; then
    DATABASE_URL="$(cat "$LOCAL/database-url")" DATABASE_SOURCE=.local/database-url
  else
    fail "no database given: set DATABASE_URL, give --database postgres://..., or run scripts/up for a private one"
  fi
  case "$DATABASE_URL" in
    postgres://* | postgresql://*) ;;
    *) fail "$DATABASE_SOURCE isn't a postgres:// URL: give postgres://USER:PASSWORD@HOST:PORT/DATABASE" ;;
  esac
}

# database_psql ARGUMENT…: psql on $DATABASE_URL. The password goes by the environment: a command line is public.
database_psql() {
  local rest="${DATABASE_URL#*://}" user="" password="${PGPASSWORD:-}"
  local authority="${rest%%/*}"
  case "$authority" in
    *:*@*)
      user="${authority%%@*}"
      rest="${rest#*@}"
      password="${user#*:}"
      user="${user%%:*}@"
      # Percent-encoded, as URLs are.
      password="${password//\\/\\\\}"
      password="$(printf '%b' "${password//%/\\x}")"
      ;;
  esac
  # No question is ever asked (-w), and messages come in English: explain_database reads them.
  PGPASSWORD="$password" PGCONNECT_TIMEOUT="${PGCONNECT_TIMEOUT:-10}" PGCLIENTENCODING=UTF8 LC_ALL=C \
    "$PSQL" -X -q -w -v ON_ERROR_STOP=1 -d "postgres://$user$rest" "$@"
}

# explain_database FILE: fails with one line for what psql wrote to FILE when it couldn't connect or read.
explain_database() {
  local what where="the URL in $DATABASE_SOURCE"
  what="$(sed -n -e 's/^psql: error: //' -e 's/^[^ ]*:[0-9]*: //' -e '/[^ ]/{p;q;}' "$1")"
  case "$(cat "$1")" in
    *"password authentication failed"* | *"no password supplied"*)
      what="the database refuses the user or the password: correct them in $where" ;;
    *"database \""*"\" does not exist"*)
      what="there's no such database: create it (createdb), or correct the name in $where" ;;
    *"Connection refused"* | *"No such file or directory"*)
      what="nothing listens there: start PostgreSQL (scripts/postgres start for the private one), or correct $where" ;;
    *"could not translate host name"*)
      what="its host name is unknown: correct $where" ;;
    *"timeout expired"* | *"timed out"*)
      what="no answer in time: check host, port and firewall in $where" ;;
    *"too many"*"connections"* | *"connection slots are reserved"*)
      what="all its connections are taken: close some, or raise max_connections" ;;
    *) what="${what:-psql failed}: check $where" ;;
  esac
  fail "can't use $(mask "$DATABASE_URL"): $what"
}
