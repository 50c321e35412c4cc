"""The agent: everything put together, started, kept up to date and stopped.

Start order is the order of trust: configuration, own cgroup, key, spool, then the listeners, then the hooks that send
connections to them. Stopping leaves the hooks where they are: without an agent the gate is closed.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import os
import resource
import signal
import time
from collections.abc import Coroutine, Iterable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lockgate import __version__, config
from lockgate.approval.client import ApprovalClient, ApprovalError
from lockgate.approval.control import ControlSocket
from lockgate.audit import unrecorded
from lockgate.audit.errors import SpoolError
from lockgate.audit.shipper import Shipper
from lockgate.audit.spool import Spool
from lockgate.config import AgentFile, ConfigError
from lockgate.identity.authority import Authority, AuthorityError
from lockgate.identity.cache import Identities
from lockgate.identity.keys import HostKey, HostKeyError
from lockgate.identity.principals import Directory
from lockgate.identity.tokens import TokenIssuer
from lockgate.identity.workload import describe, read_start
from lockgate.kernel.cgroups import Hierarchy
from lockgate.kernel.libbpf import KernelError
from lockgate.kernel.memory import keep_private
from lockgate.kernel.prepare import open_gate, own_cgroup, unprepared
from lockgate.kernel.standing import StandingError
from lockgate.masking import MaskingKeyError, RootKey
from lockgate.metrics import Metrics
from lockgate.policy.bundle import configured
from lockgate.policy.reload import Policies
from lockgate.policy.shadow import Shadow
from lockgate.policy.source import BundleError
from lockgate.proxy.holds import Holds
from lockgate.proxy.leaves import Leaves
from lockgate.proxy.ledger import Ledger
from lockgate.proxy.listener import NOWHERE, Listener, inherit
from lockgate.proxy.passed import Passed
from lockgate.proxy.protocols import PROTOCOLS
from lockgate.proxy.redirection import Redirection
from lockgate.proxy.reloader import Reloader
from lockgate.proxy.services import Services
from lockgate.proxy.store import Store
from lockgate.proxy.upstream_tls import UpstreamTls
from lockgate.service import ServiceManager
from lockgate.values.identity import Origin, Principal, Workload

log = logging.getLogger(__name__)

WATCH_SECONDS: Final = 2.0
"""How often policy files are looked at for changes."""
GC_THRESHOLD: Final = 20_000
"""New objects between two looks of the garbage collector (CPython's default is 700): some 2 MB."""
TAKEOVER_SECONDS: Final = 2.0
"""How long listeners of the agent before this one are served once nobody is sent there any more: a handshake on
loopback takes microseconds."""
FAREWELL_SECONDS: Final = 2.0
"""How long a stopping agent waits for the collector to take the last records; what is left goes at the next start."""
PUBLISH_SECONDS: Final = 2.0
"""How long to wait before the collector is offered this host's key again."""

Classification = Mapping[str, tuple[str, ...]]
"""`schema.table.column` -> tags."""


_UNSTARTABLE: Final = (
    SpoolError, HostKeyError, MaskingKeyError, AuthorityError, KernelError, StandingError, OSError, ValueError,
)  # fmt: skip


class StartError(Exception):
    """The agent can't start, and why in one line. `status` is the exit status: 2 for configuration, 1 otherwise."""

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


def run(settings: AgentFile, path: str) -> None:
    """Run the agent until SIGTERM or SIGINT. Raises StartError."""
    manager = ServiceManager()
    try:
        _run(settings, path, manager)
    except BaseException:
        # who waits for an agent that can't be is told so, and the kernel refuses who comes next (or lets them pass)
        for name in manager.kept_names:
            with suppress(OSError):
                manager.let_go(name)
        raise


def _run(settings: AgentFile, path: str, manager: ServiceManager) -> None:
    import uvloop

    try:
        if os.geteuid() != 0 and (why := unprepared(Path(settings.agent.run_dir))):
            raise StartError(why)
    except OSError as error:
        raise StartError(f"{error.filename}: {error.strerror}: prepared for another account?") from None
    keep_private()  # before there is a secret in it
    try:
        directory = Directory(config.load_identities(settings.identities))
        policies = Policies(
            lambda epoch: configured(settings, epoch=epoch), _watched(settings), cache=settings.limits.verdict_cache
        )
    except (ConfigError, BundleError, ValueError) as error:
        raise StartError(str(error), 2) from None
    uvloop.run(_Agent(settings, path, policies, directory, manager).run())


def _modes(stores: Iterable[Store]) -> list[str]:
    return [f"{store.name} ({'enforcing' if store.enforced else 'observing'})" for store in stores]


def _watched(settings: AgentFile) -> list[str]:
    return [*settings.policies, *settings.classify, *settings.identities]


def _settle_in() -> None:
    """Make the process what a data path wants to be, once everything is loaded.

    What is there now stays: the garbage collector need not look at it again, and looks less often at the short-lived
    objects of statements, of which none is in a cycle. Two descriptors a connection need more than the usual 1024.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 20, 50)
    ctypes.CDLL(None).malloc_trim(0)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _folders(settings: AgentFile) -> tuple[Path, Path]:
    """The folder of what has to be kept and the folder of what ends with the host, made where they are missing."""
    state, run_dir = Path(settings.agent.state_dir), Path(settings.agent.run_dir)
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    run_dir.mkdir(parents=True, exist_ok=True, mode=0o755)
    return state, run_dir


def masking_key(settings: AgentFile) -> RootKey:
    """The root key of the keyed maskers: that of the configuration, or one of this host's own, made when there is none.

    Raises MaskingKeyError.
    """
    if settings.masking.key_file is not None:
        return RootKey.load(settings.masking.key_file)
    return RootKey.load_or_create(Path(settings.agent.state_dir) / "masking.key")


@dataclass(frozen=True, slots=True)
class Caller:
    """A process that calls the control socket."""

    workload: Workload
    principal: Principal


class _Agent:
    def __init__(
        self, settings: AgentFile, path: str, policies: Policies, directory: Directory, manager: ServiceManager
    ) -> None:
        self._settings = settings
        self._path = path
        self._policies = policies
        self._directory = directory
        self._listeners: list[Listener] = []
        self._stores: list[Store] = []
        self._failed: str | None = None
        self._shadow = Shadow(
            lambda epoch: configured(settings, epoch=epoch, shadow=True),
            [*settings.shadow, *settings.classify, *settings.identities] if settings.shadow else [],
            cache=settings.limits.verdict_cache,
        )
        self._stopping = asyncio.Event()
        self._reloading = asyncio.Event()
        self._started = time.time()
        self._manager = manager

    async def run(self) -> None:
        """Start everything, serve, stop everything. What was opened is closed, also when a later step fails."""
        loop = asyncio.get_running_loop()
        settings = self._settings
        async with AsyncExitStack() as stack:
            try:
                await self._start(stack)
            except _UNSTARTABLE as error:
                raise StartError(str(error)) from None
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self._stopping.set)
            _settle_in()
            loop.add_signal_handler(signal.SIGHUP, self._reloading.set)
            for listener, store in zip(self._listeners, self._stores, strict=True):
                self._manager.keep(f"{store.name}@{os.getpid()}", listener.sockets)
            for name in self._manager.kept_names:
                self._manager.let_go(name)
            self._spawn(stack, "the watchdog", self._manager.stay_alive())
            stack.callback(loop.call_later(TAKEOVER_SECONDS, self._disinherit).cancel)
            self._manager.ready(self._doing())
            log.info(
                "ready",
                extra={"datastores": [s.name for s in settings.datastores], "cgroup": settings.intercept.cgroup},
            )
            await self._stopping.wait()
            self._manager.stopping()
            log.info(
                "stopping: connections in use have time to finish", extra={"seconds": settings.limits.drain_seconds}
            )
            await self._drain()
        if self._failed is not None:
            raise StartError(f"stopped, because {self._failed} failed")
        log.info("stopped: the hooks stay, so connections to the datastores are refused until the agent is back")

    async def _start(self, stack: AsyncExitStack) -> None:
        settings, limits = self._settings, self._settings.limits
        loop = asyncio.get_running_loop()
        tree = Hierarchy.find()
        tree.id_of(settings.intercept.cgroup)  # raises before anything is made for a cgroup that isn't there
        own = own_cgroup(settings.intercept, tree)
        state, run_dir = _folders(settings)

        key = HostKey.load_or_create(state / "host.key")
        issuer = TokenIssuer(key, settings.agent.name)
        authority = Authority.load_or_create(state, settings.agent.name)
        authority.publish(run_dir)
        identities = Identities(self._directory, issuer, limit=limits.workload_cache)
        identities.watch(loop)
        stack.callback(identities.close)
        self._spool = spool = Spool(state / "spool", settings.agent.name, key, settings.spool)
        stack.callback(spool.close)
        self._metrics = metrics = Metrics([s.name for s in settings.datastores])
        if settings.agent.metrics is not None:
            stack.callback(metrics.serve(settings.agent.metrics))

        approvals = ApprovalClient(
            settings.collector.api, settings.agent.name, key.jwks(), lambda: issuer.issue_service().text
        )
        stack.push_async_callback(approvals.close)
        holds = Holds(approvals, limits.held_statements)
        stack.push_async_callback(holds.close)
        metrics.watch_held(lambda: holds.held)
        metrics.epoch(self._policies.engine.epoch)
        ledger = Ledger(spool, metrics)
        stack.callback(ledger.flush)
        self._services = services = Services(
            settings.agent.name, limits, self._policies, identities, ledger, holds, metrics, Leaves(authority),
            shadow=self._shadow,
        )  # fmt: skip

        self._interceptor = interceptor = open_gate(settings, own)
        stack.callback(interceptor.close)
        self._masking = masking_key(settings)
        self._passed = Passed(state, self._note, time.monotonic)
        self._stores = [self._store(index, stack) for index in range(len(settings.datastores))]
        self._reloader = Reloader(
            settings, self._path, self._directory, services, self._stores, self._listeners, self._note
        )
        self._reloader.classify()
        inherited = self._manager.kept()
        for store in self._stores:
            listener = Listener(services, store, interceptor.origin)
            stack.push_async_callback(listener.close)
            self._listeners.append(listener)
            await listener.start()
        interceptor.take_over(alone=not inherited)

        self._redirection = Redirection(settings, self._stores, self._listeners, interceptor)
        await self._redirection.set()
        await inherit(self._listeners, inherited, interceptor.listener_of)
        for fields in unrecorded.left(run_dir):
            spool.append(fields)
        spool.append({"type": "agent", "event": "start", "version": __version__, "epoch": self._policies.engine.epoch})
        spool.commit()
        unrecorded.forget(run_dir)
        self._reloader.tell_shadow()
        interceptor.attach()

        self._shipper = shipper = Shipper(spool, settings.collector.address)
        for name, work in (("ship", shipper.run()), ("publish", self._publish(approvals)),
                           ("watch", self._watch()), ("resolve", self._redirection.keep()),
                           ("sync", self._sync())):  # fmt: skip
            self._spawn(stack, name, work)
        control = ControlSocket(run_dir, issuer, self._caller, self._status, self._note)
        await control.start()
        stack.push_async_callback(control.close)

    def _store(self, index: int, stack: AsyncExitStack) -> Store:
        settings, limits = self._settings.datastores[index], self._settings.limits
        tls = UpstreamTls.of(
            settings, lambda endpoint: self._redirection.book.names(index, endpoint.host, endpoint.port)
        )
        tls.check()
        store = PROTOCOLS[settings.protocol](
            settings, self._policies, limits, tls, keys=self._masking.keys(settings.name), shadow=self._shadow,
            leads=lambda host, port: self._redirection.book.leads(host, port) is not None,
        )  # fmt: skip
        stack.push_async_callback(store.close)
        return store

    # what goes on beside the connections

    def _spawn(self, stack: AsyncExitStack, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` until the agent stops. One that ends by itself takes the agent down: nothing fails unseen."""

        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and task.exception() is not None:
                log.critical("%s failed", name, exc_info=task.exception())
                self._failed = name
                self._stopping.set()

        async def stop() -> None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        task = asyncio.get_running_loop().create_task(work, name=name)
        task.add_done_callback(ended)
        stack.push_async_callback(stop)

    def _disinherit(self) -> None:
        """Who was on the way to a listener of the agent before this one has arrived."""
        for listener in self._listeners:
            listener.disinherit()
        self._interceptor.take_over(alone=True)

    async def _watch(self) -> None:
        """Take what changes on disk, and at SIGHUP modes of datastores too."""
        while True:
            try:
                async with asyncio.timeout(WATCH_SECONDS):
                    await self._reloading.wait()
            except TimeoutError:
                self._reloader.look()
                continue
            self._reloading.clear()
            if self._reloader.reload():
                self._manager.status(self._doing())
                await self._redirection.renew()  # what is observed goes past an agent that is gone

    def _doing(self) -> str:
        """One line for who looks at the service."""
        return f"intercepting {self._settings.intercept.cgroup} for {', '.join(_modes(self._stores))}"

    def _note(self, event: str, detail: str, **more: str) -> None:
        """Record something the agent did. A spool that can't take it refuses statements too, and says so itself."""
        self._services.ledger.flush()  # where that fails it says what is lost
        try:
            self._spool.append(
                {"type": "agent", "event": event, "epoch": self._policies.engine.epoch, "detail": detail, **more}
            )
            self._spool.commit()
        except SpoolError as error:
            log.error("%s is not recorded: %s", event, error)

    async def _sync(self) -> None:
        """Flush the spool to the disk and seal what has none, off the path of statements."""
        while True:
            await asyncio.sleep(self._settings.spool.fsync_seconds)
            try:
                if self._settings.spool.fsync == "interval":
                    await asyncio.to_thread(self._spool.sync)
                if self._spool.seal_due():
                    self._services.ledger.flush()
                    self._spool.seal()
                self._services.ledger.own_up()
            except SpoolError as error:
                # statements are refused by themselves while this lasts
                log.error("the spool can't be kept: %s", error)
            self._metrics.spool(
                self._spool.bytes, self._settings.spool.max_bytes, self._spool.dropped, self._shipper.waiting
            )
            counted = self._interceptor.counters()
            self._metrics.kernel(counted)
            try:
                self._passed.look(counted["passed_observed"])
            except OSError as error:
                log.error("how many connections went by is not kept: %s", error)

    async def _publish(self, approvals: ApprovalClient) -> None:
        """Tell the collector this host's public key, as often as it takes."""
        problem = ""
        while True:
            try:
                await approvals.publish_key()
            except ApprovalError as error:
                if str(error) != problem:
                    problem = str(error)
                    log.warning("%s", problem)
                await asyncio.sleep(PUBLISH_SECONDS)
            else:
                return

    async def _drain(self) -> None:
        """Let connections finish what they are in the middle of, for `drain_seconds`."""
        for listener in self._listeners:
            listener.stop()
        deadline = time.monotonic() + self._settings.limits.drain_seconds
        while time.monotonic() < deadline:
            for listener in self._listeners:
                listener.close_idle()
            if not any(listener.connections for listener in self._listeners):
                break
            await asyncio.sleep(0.05)
        for listener in self._listeners:
            await listener.close()
        self._note("stop", "")
        try:
            self._spool.seal()
            async with asyncio.timeout(FAREWELL_SECONDS):
                await self._shipper.drained()
        except (SpoolError, TimeoutError) as error:
            log.warning("%d records wait in the spool: %s", self._shipper.waiting, error or "the collector is away")

    def _caller(self, pid: int, uid: int, gid: int) -> Caller:
        """Who calls the control socket: identified like who connects to a datastore."""
        origin = Origin(pid, read_start(pid), 0, uid, gid, 0, 0, 0, "", NOWHERE)
        workload = describe(origin)
        return Caller(workload, self._reloader.directory.principal(workload))

    def _status(self) -> dict[str, Any]:
        return {
            "ready": True,
            "version": __version__,
            "host": self._settings.agent.name,
            "since": int(self._started),
            "cgroup": self._settings.intercept.cgroup,
            "epoch": self._policies.engine.epoch,
            "held": self._services.holds.held,
            "datastores": [
                {
                    "name": store.name,
                    "protocol": store.protocol,
                    "mode": store.settings.mode,
                    "caution": store.settings.caution,
                    "connections": len(listener.connections),
                    **self._metrics.numbers(store.name),
                }
                for store, listener in zip(self._stores, self._listeners, strict=True)
            ],
            "shadow": {
                "configured": self._shadow.configured,
                "epoch": None if self._shadow.engine is None else self._shadow.engine.epoch,
                "problem": self._shadow.problem,
            },
            "spool": {"bytes": self._spool.bytes, "limit": self._settings.spool.max_bytes},
            "collector": {"connected": self._shipper.connected, "waiting": self._shipper.waiting},
        }
