#!/bin/bash
# Makes this machine the datastore: PostgreSQL with the database `shop` of the worked example, and its roles.
#
#   datastore.sh LISTEN CLIENTS
#       LISTEN    the address to listen on, such as 192.168.56.20 or 127.0.0.1
#       CLIENTS   the network that hosts come from, such as 192.168.56.0/24: its people need no password here, since
#                 who may do what is what there is to be tried
#   environment:
#       CHECKOUT  where this repository is (default: where this script lies)
#
# Debian, Ubuntu, Rocky; as root; may run again.
set -eu

listen=$1
clients=$2
checkout=${CHECKOUT:-$(cd "$(dirname "$0")/../.." && pwd)}

as_postgres() {
    runuser -u postgres -- psql -XqAt -v ON_ERROR_STOP=1 "$@"
}

if command -v apt-get >/dev/null; then
    if ! command -v pg_ctlcluster >/dev/null; then
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql
    fi
else
    command -v postgresql-setup >/dev/null || dnf install -y -q postgresql-server
    data=/var/lib/pgsql/data
    [ -e "$data/PG_VERSION" ] || postgresql-setup --initdb
fi
systemctl enable -q postgresql
systemctl start postgresql

cd /
for _ in $(seq 100); do
    as_postgres -c 'SELECT' 2>/dev/null && break
    sleep 0.2
done

if [ -z "$(as_postgres -c "SELECT 1 FROM pg_database WHERE datname = 'shop'")" ]; then
    as_postgres -c 'CREATE DATABASE shop'
    as_postgres -d shop < "$checkout/agent/lockgate/demo/shop.sql"
fi
rules=$(as_postgres -c 'SHOW hba_file')
for role in app lockgate; do
    rule="host shop $role $clients trust"
    grep -qxF "$rule" "$rules" || sed -i "1i $rule" "$rules"
done
as_postgres -c "ALTER SYSTEM SET listen_addresses = '$listen'"
# An agent that only observes leaves a client's TLS with its datastore unread (client_tls: pass): here there is none, so
# that it is seen what is seen.
as_postgres -c "ALTER SYSTEM SET ssl = off"
systemctl restart postgresql

if systemctl is-active -q firewalld; then
    firewall-cmd -q --permanent --add-port=5432/tcp
    firewall-cmd -q --reload
fi
