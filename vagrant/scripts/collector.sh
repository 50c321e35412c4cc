#!/bin/bash
# Makes this machine the collector: installs the package and starts lockgate-collector.service.
#
#   collector.sh PACKAGE LISTEN
#       PACKAGE   the built package: lockgate_*.deb, or lockgate-*.rpm
#       LISTEN    the address to listen on, such as 192.168.56.30 or 127.0.0.1 (ports 24224 and 8080)
#
# A collector for others runs no agent: the one that the package starts is taken out again. With a LISTEN of 127.* it
# stays, for the machine that is host and collector in one.
#
# Debian, Ubuntu, Rocky; as root; may run again.
set -eu

package=$1
listen=$2

case $package in
    *.deb) dpkg -i "$package" ;;
    *.rpm) rpm -U --replacepkgs "$package" ;;
    *) echo "collector.sh: $package is neither a deb nor an rpm" >&2; exit 2 ;;
esac

cat > /etc/lockgate/collector.yaml <<EOF
collector:
  listen: "$listen:24224"
  http: "$listen:8080"
  state_dir: /var/lib/lockgate-collector
EOF
lockgate collector --check --config /etc/lockgate/collector.yaml
systemctl enable -q lockgate-collector
systemctl restart lockgate-collector || { journalctl --no-pager -o cat -n 20 -u lockgate-collector >&2; exit 1; }

case $listen in
    127.*) ;;
    *)
        if systemctl is-active -q lockgate-agent; then
            systemctl disable -q lockgate-agent
            lockgate release --config /etc/lockgate/agent.yaml
        fi
        if systemctl is-active -q firewalld; then
            firewall-cmd -q --permanent --add-port=24224/tcp --add-port=8080/tcp
            firewall-cmd -q --reload
        fi
        ;;
esac
