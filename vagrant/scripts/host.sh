#!/bin/bash
# Makes this machine a host under Lockgate: people to be, psql, the package, and the worked example's configuration.
#
#   host.sh PACKAGE DATASTORE COLLECTOR [MODE]
#       PACKAGE    the built package: lockgate_*.deb, or lockgate-*.rpm
#       DATASTORE  the address of the machine that datastore.sh provisioned, as applications dial it
#       COLLECTOR  the address of the machine that collector.sh provisioned
#       MODE       observe (default): record what would have been done; or enforce: do it
#   environment:
#       CHECKOUT   where this repository is (default: where this script lies)
#
# Debian, Ubuntu, Rocky; as root; may run again, for another MODE for instance.
set -eu

package=$1
datastore=$2
collector=$3
mode=${4:-observe}
checkout=${CHECKOUT:-$(cd "$(dirname "$0")/../.." && pwd)}
example=$checkout/policies/examples/orders

case $mode in
    observe | enforce) ;;
    *) echo "host.sh: the mode is observe or enforce, not $mode" >&2; exit 2 ;;
esac

for person in ann bob cleo sam oncall; do
    id -u "$person" >/dev/null 2>&1 || useradd --create-home --shell /bin/bash "$person"
done

if ! command -v psql >/dev/null; then
    if command -v apt-get >/dev/null; then
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql-client
    else
        dnf install -y -q postgresql
    fi
fi

case $package in
    *.deb) dpkg -i "$package" ;;
    *.rpm) rpm -U --replacepkgs "$package" ;;
    *) echo "host.sh: $package is neither a deb nor an rpm" >&2; exit 2 ;;
esac

mkdir -p /etc/lockgate/policies
rm -f /etc/lockgate/policies/*.cedar
cp "$example"/*.cedar /etc/lockgate/policies
cp "$example/identities.yaml" "$example/classification.yaml" /etc/lockgate
cat > /etc/lockgate/agent.yaml <<EOF
agent:
  name: $(uname -n)
  metrics: "127.0.0.1:9464"
intercept:
  mechanism: ebpf
  cgroup: /
datastores:
  - name: orders
    protocol: postgresql
    addresses: ["$datastore:5432"]
    catalog: {user: lockgate}
    mode: $mode
identities: [identities.yaml]
classify: [classification.yaml]
policies: [policies]
collector: {address: "$collector:24224", api: "http://$collector:8080"}
EOF
lockgate agent --check --config /etc/lockgate/agent.yaml
systemctl enable -q lockgate-agent
systemctl restart lockgate-agent || { journalctl --no-pager -o cat -n 20 -u lockgate-agent >&2; exit 1; }
systemctl is-active -q lockgate-agent
lockgate status --config /etc/lockgate/agent.yaml
