#!/bin/sh
# A private PostgreSQL for tests: no TCP, its own folder, gone after `stop`.
#
#   export WORKGYM_TEST_POSTGRES="$(tests/support/postgres.sh start)"
#   tests/support/postgres.sh stop
#
# Needs Debian's package: apt-get install postgresql
set -eu

port="${WORKGYM_TEST_POSTGRES_PORT:-54329}"
home="${TMPDIR:-/tmp}/workgym-postgres-$port"
owner=postgres

fail() {
    echo "postgres.sh: $*" >&2
    exit 1
}

# PostgreSQL refuses to run as root; anybody else runs it as themselves.
as_owner() {
    if [ "$(id -u)" -eq 0 ]; then
        (cd / && runuser -u "$owner" -- "$@")
    else
        "$@"
    fi
}

find_bin() {
    for folder in $(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V -r); do
        if [ -x "$folder/initdb" ]; then
            echo "$folder"
            return
        fi
    done
    fail "found no initdb under /usr/lib/postgresql/*/bin; run: apt-get install postgresql"
}

create() {
    mkdir -m 700 "$home"
    [ "$(id -u)" -ne 0 ] || chown "$owner" "$home"
    as_owner "$bin/initdb" -D "$home/data" -U postgres --auth=trust --encoding=UTF8 --locale=C.UTF-8 \
        --no-sync >/dev/null
}

# fsync=off: these tests kill clients, never the machine.
start() {
    [ -d "$home/data" ] || create
    as_owner "$bin/pg_ctl" -D "$home/data" status >/dev/null ||
        as_owner "$bin/pg_ctl" -D "$home/data" -w -t 60 -l "$home/log" \
            -o "-p $port -k $home -c listen_addresses='' -c fsync=off -c max_connections=200" start >/dev/null ||
        fail "the server did not start; its log: $(tail -n 5 "$home/log" 2>/dev/null)"
    # The socket's folder must be open to whoever runs the tests.
    [ "$(id -u)" -ne 0 ] || chmod 711 "$home"
    echo "postgresql+psycopg://postgres@/postgres?host=$home&port=$port"
}

stop() {
    [ -d "$home" ] || return 0
    as_owner "$bin/pg_ctl" -D "$home/data" -m immediate -w stop >/dev/null || true
    rm -rf "$home"
}

bin="$(find_bin)"
case "${1:-}" in
start) start ;;
stop) stop ;;
*) fail "usage: $0 start|stop" ;;
esac
