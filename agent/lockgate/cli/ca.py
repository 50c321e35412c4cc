"""The host's certificate authority: what clients verify the agent with."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from lockgate import config
from lockgate.cli.options import agent_yaml
from lockgate.cli.show import json_line

if TYPE_CHECKING:
    from lockgate.identity.authority import Authority
    from lockgate.identity.truststore import TrustStore

_anchors = click.option(
    "--anchors",
    type=click.Path(file_okay=False),
    metavar="FOLDER",
    help="The folder of trusted certificates, instead of the system's; nothing is run.",
)


@click.group()
def ca() -> None:
    """The certificate authority of this host, for clients that verify (sslmode=verify-ca, verify-full)."""


@ca.command()
@agent_yaml
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def show(path: str, as_json: bool) -> None:
    """The certificate in PEM; its fingerprint and its end beside it, on stderr. Makes the authority if need be."""
    authority = _authority(config.load_agent(path))
    until = f"{authority.certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}"
    if as_json:
        subject = authority.certificate.subject.rfc4514_string()
        pem = authority.pem.decode()
        json_line({"subject": subject, "sha256": authority.fingerprint, "not_after": until, "pem": pem})
        return
    click.echo(f"SHA-256 {authority.fingerprint}, valid until {until}", err=True)
    click.echo(authority.pem, nl=False)


@ca.command()
@agent_yaml
@_anchors
def install(path: str, anchors: str | None) -> None:
    """Have every program of this host that uses the system's trust store trust the agent."""
    from lockgate.identity.truststore import TrustStoreError

    settings = config.load_agent(path)
    authority = _authority(settings)
    try:
        place = _store(anchors).install(settings.agent.name, authority.pem)
    except TrustStoreError as error:
        _fail(error)
    click.echo(f"{place}: trusted (SHA-256 {authority.fingerprint})")


@ca.command()
@agent_yaml
@_anchors
def remove(path: str, anchors: str | None) -> None:
    """Take it out of the system's trust store again. Exits 1 when it isn't there."""
    from lockgate.identity.truststore import TrustStoreError

    settings = config.load_agent(path)
    try:
        store = _store(anchors)
        found = store.remove(settings.agent.name)
    except TrustStoreError as error:
        _fail(error)
    if not found:
        _fail(f"{store.folder}: the authority of {settings.agent.name} is not there")
    click.echo(f"{store.folder}: no longer trusted")


def _store(anchors: str | None) -> TrustStore:
    from lockgate.identity.truststore import TrustStore, find

    return find() if anchors is None else TrustStore(Path(anchors), ())


def _authority(settings: config.AgentFile) -> Authority:
    from lockgate.identity.authority import Authority, AuthorityError

    try:
        return Authority.load_or_create(Path(settings.agent.state_dir), settings.agent.name)
    except AuthorityError as error:
        _fail(error)


def _fail(error: object) -> NoReturn:
    click.echo(f"lockgate: {error}", err=True)
    sys.exit(1)
