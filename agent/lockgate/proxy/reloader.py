"""What an agent takes while it runs: policies, also those that are tried, and identities when they change; the modes of
datastores only when it is told to look, so that saving a file turns nothing on or off."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol

from lockgate import config
from lockgate.config import AgentFile, ConfigError
from lockgate.identity.principals import Directory
from lockgate.policy.source import BundleError
from lockgate.proxy.listener import Listener
from lockgate.proxy.services import Services
from lockgate.proxy.store import Store

log = logging.getLogger(__name__)


class Note(Protocol):
    """Records something that the agent did."""

    def __call__(self, event: str, detail: str, **more: str) -> None: ...


class Reloader:
    """`directory` is the one in force. `stores` and `listeners` are in the order of the configuration's datastores."""

    def __init__(
        self,
        settings: AgentFile,
        path: str,
        directory: Directory,
        services: Services,
        stores: Sequence[Store],
        listeners: Sequence[Listener],
        note: Note,
    ) -> None:
        """`path` is the file that `settings` were read from."""
        self.directory = directory
        self._settings = settings
        self._path = path
        self._services = services
        self._stores = stores
        self._listeners = listeners
        self._note = note

    def look(self) -> None:
        """Take what has changed on disk, but for agent.yaml."""
        if self._services.shadow.changed():
            self._reload_shadow()
        if self._services.policies.changed():
            self._reload(self._settings)

    def reload(self) -> bool:
        """Take everything anew. Whether the mode of a datastore is another."""
        self._reload_shadow()
        try:
            settings = config.load_agent(self._path)
        except (ConfigError, OSError) as error:
            self._refused(error)
            return False
        return self._reload(settings) and self._turn(settings)

    def tell_shadow(self) -> None:
        """Log, count and record what has become of the bundle that is tried."""
        tried, metrics = self._services.shadow, self._services.metrics
        if not tried.configured:
            return
        epoch = 0 if tried.engine is None else tried.engine.epoch
        metrics.shadow_reloaded(epoch, taken=tried.problem is None)
        if tried.problem is None:
            log.info("policies are tried", extra={"epoch": epoch})
            self._note("shadow", f"epoch {epoch} is tried")
        else:
            log.error("the policies to be tried can't be used: %s", tried.problem)
            self._note("shadow-refused", tried.problem)

    def classify(self) -> None:
        """What policies were validated with is what columns are told by."""
        classification = self._services.policies.engine.bundle.classification
        for store in self._stores:
            store.reclassify(classification.get(store.name, {}))

    def _reload_shadow(self) -> None:
        self._services.shadow.reload()
        self.tell_shadow()

    def _reload(self, settings: AgentFile) -> bool:
        services = self._services
        try:
            # whatever can fail stands before the first thing that is replaced
            directory = Directory(config.load_identities(self._settings.identities))
            engine = services.policies.reload()
        except (ConfigError, BundleError, OSError) as error:
            self._refused(error)
            return False
        self.directory = directory
        services.identities.replace(directory)
        self.classify()
        for listener in self._listeners:
            listener.reconsider()
        services.metrics.reloaded(engine.epoch, taken=True)
        log.info("policies taken", extra={"epoch": engine.epoch})
        self._note("reload", "")
        return True

    def _refused(self, error: Exception) -> None:
        epoch = self._services.policies.engine.epoch
        self._services.metrics.reloaded(epoch, taken=False)
        log.error("policies not taken, the old ones stay in force: %s", error, extra={"epoch": epoch})
        self._note("reload-refused", str(error))

    def _turn(self, settings: AgentFile) -> bool:
        """Take the modes; what else is different is only told."""
        if waiting := ", ".join(config.left(self._settings, settings)):
            log.warning("a restart is needed for what else is different: %s", waiting)
            self._note("restart-needed", waiting)
        self._settings = config.turned(self._settings, settings)
        turned = False
        for store, listener, newer in zip(self._stores, self._listeners, self._settings.datastores, strict=True):
            if newer != store.settings:
                turned = self._become(store, listener, newer) or turned
        return turned

    def _become(self, store: Store, listener: Listener, newer: config.Datastore) -> bool:
        before = store.settings.mode
        store.become(newer)
        if newer.mode == before:
            return False
        if store.enforced:
            log.warning("datastore %s is enforced from now on", store.name)
            listener.enforce()
        else:
            log.warning("datastore %s is NO LONGER ENFORCED: nothing is blocked, masked or held", store.name)
            if newer.caution is not None:
                log.warning("datastore %s: %s", store.name, newer.caution)
        self._note("mode", f"{before} to {newer.mode}", datastore=store.name, **{"from": before, "to": newer.mode})
        return True
