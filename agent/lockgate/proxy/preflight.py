"""Everything of a configuration that a start would refuse, without starting: for upgrades and before a restart."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from lockgate import config
from lockgate.config import AgentFile, ConfigError
from lockgate.config.secrets import SecretError
from lockgate.identity.principals import Directory
from lockgate.kernel.addresses import AddressBook, Declared
from lockgate.masking import MaskingKeyError, RootKey
from lockgate.policy.bundle import BundleError, configured
from lockgate.proxy.credentials import Passwords
from lockgate.proxy.upstream_tls import UpstreamTls, UpstreamTlsError


class PreflightError(Exception):
    """The agent would not start with this configuration, and why in one line."""


def check(settings: AgentFile) -> tuple[str, ...]:
    """Warnings, of what would start and is probably a mistake. Raises PreflightError.

    Reads every file that the configuration names. Commands that fetch passwords are not run, and what only the
    agent's unit has (its environment, its credentials) is not looked for.
    """
    warnings: list[str] = []
    try:
        Directory(config.load_identities(settings.identities))
        warnings += configured(settings, epoch=1).warnings
        warnings += _tried(settings)
        if settings.masking.key_file is not None:
            RootKey.load(settings.masking.key_file)
        for index, store in enumerate(settings.datastores):
            AddressBook([Declared(index, 1, tuple(store.addresses))])
            UpstreamTls.of(store).check()
            for _, credential in store.credentials():
                if credential.password_file is not None:
                    asyncio.run(Passwords().of(credential))
                elif credential.command is not None and not os.access(credential.command[0], os.X_OK):
                    warnings.append(f"datastore {store.name}: {credential.command[0]} can't be executed")
    except (ConfigError, BundleError, MaskingKeyError, SecretError, UpstreamTlsError, ValueError, OSError) as error:
        raise PreflightError(str(error)) from None
    run_dir = Path(settings.agent.run_dir)
    if run_dir.exists() and not run_dir.is_dir():
        raise PreflightError(f"{run_dir}: agent.run_dir is not a folder")
    return tuple(warnings)


def _tried(settings: AgentFile) -> list[str]:
    """What is wrong with the policies that are only tried: no reason not to start."""
    if not settings.shadow:
        return []
    try:
        return [f"shadow: {warning}" for warning in configured(settings, epoch=1, shadow=True).warnings]
    except BundleError as error:
        return [f"shadow: nothing is tried: {error}"]
