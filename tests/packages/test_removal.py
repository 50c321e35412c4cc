"""A package goes: the way to the datastores is as it was, and what is left is what was meant to be."""

from __future__ import annotations

from tests.packages.host import AGENT, DPKG, Host

CUSTOMER = "SELECT name, email, ssn FROM customers WHERE id = 7"
OURS = "*lockgate*"


def left(host: Host) -> list[str]:
    """Everything on the system with Lockgate in its name, or of an account that is gone."""
    found = host.machine.run("find", "/", "-xdev", "-path", "/proc", "-prune", "-o",
                             "(", "-name", OURS, "-o", "-nouser", ")", "-print")  # fmt: skip
    found += host.machine.run("find", "/run", "/dev/shm", "/tmp", "/sys/fs/cgroup", "-name", OURS)
    return sorted(found.splitlines())


def test_removed_it_leaves_the_records_and_purged_nothing(host: Host) -> None:
    before = host.psql(CUSTOMER)
    host.installed()
    host.configure("enforce")
    assert host.psql(CUSTOMER).output != before.output

    removed = host.remove()
    assert removed.status == 0, removed
    assert "rror" not in removed.said, removed
    assert host.psql(CUSTOMER).output == before.output, "the hooks are gone"
    # where they are, not what of: the root's own options name the checkout's folder
    assert not [line for line in host.machine.read("/proc/mounts").splitlines() if "lockgate" in line.split()[1]]
    assert host.machine.active(AGENT) in ("inactive", "failed")
    assert host.machine.run("find", "/var/lib/lockgate/spool", "-type", "f"), "records stay"
    assert host.machine.run("ls", "/var/lib/lockgate-collector")
    kept = [path for path in left(host) if not path.startswith(("/var/lib", "/etc/lockgate"))]
    assert kept == []

    # a reboot changes nothing of it
    host.machine.reboot()
    assert host.psql(CUSTOMER).output == before.output

    if host.manager is DPKG:
        purged = host.purge()
        assert purged.status == 0, purged
        assert left(host) == []
        assert "lockgate" not in host.machine.read("/etc/passwd") + host.machine.read("/etc/group")


def test_installed_again_it_goes_on_as_it_was_configured(host: Host) -> None:
    host.installed()
    host.configure("enforce")
    host.psql(CUSTOMER)
    host.remove()
    if host.manager is not DPKG:
        # rpm keeps what was changed under another name, and says so
        host.machine.run("/bin/sh", "-c", "cd /etc/lockgate && for f in *.rpmsave; do mv $f ${f%.rpmsave}; done")
    again = host.install()
    assert again.status == 0, again
    host.settled(AGENT, "active")
    assert host.psql(CUSTOMER).output.endswith("|***\n")
    host.collect()
    assert host.lockgate("audit", "verify", "--config", "/etc/lockgate/collector.yaml").status == 0


def test_the_emergency_way_out_is_one_command_and_recorded(host: Host) -> None:
    before = host.psql(CUSTOMER)
    host.installed()
    host.configure("enforce")
    released = host.lockgate("release")
    assert released.status == 0, released
    assert host.psql(CUSTOMER).output == before.output
    host.machine.run("systemctl", "start", AGENT)
    assert host.psql(CUSTOMER).output.endswith("|***\n")
    host.machine.until("its record", lambda: any(record.get("event") == "release" for record in host.records()))


def test_the_way_out_is_there_while_the_agent_fails_again_and_again(debian: Host) -> None:
    before = debian.psql(CUSTOMER)
    debian.installed()
    debian.configure("enforce")
    debian.machine.run("systemctl", "stop", AGENT)
    debian.machine.run(
        "systemd-run", "--quiet", "--unit=taken", "--socket-property=ListenStream=127.0.0.1:9464", "true"
    )
    assert debian.machine.attempt("systemctl", "start", AGENT).status != 0
    assert debian.psql(CUSTOMER).status == 2, "closed"
    released = debian.lockgate("release")
    assert released.status == 0, released
    assert debian.psql(CUSTOMER).output == before.output
    debian.settled(AGENT, "inactive")
    assert debian.psql(CUSTOMER).output == before.output, "it is not tried again"


def test_the_way_out_is_there_with_a_configuration_that_nobody_can_read(debian: Host) -> None:
    before = debian.psql(CUSTOMER)
    debian.installed()
    debian.configure("enforce")
    debian.machine.write("/etc/lockgate/agent.yaml", "agent: {{\n")
    assert debian.machine.attempt("systemctl", "restart", AGENT).status != 0
    assert debian.psql(CUSTOMER).status == 2, "closed"
    released = debian.lockgate("release")
    assert released.status == 0, released
    assert debian.psql(CUSTOMER).output == before.output
