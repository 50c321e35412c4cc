"""What an agent takes while it runs, what it doesn't, and what is told of either."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lockgate.config import load_agent
from lockgate.identity.principals import Directory
from lockgate.proxy.reloader import Reloader
from tests.proxy.house import CLASSIFICATION, POLICIES, House, errors_of, play

AGENT = """\
agent: {name: host-1}
intercept: {}
datastores:
  - {name: orders, protocol: postgresql, addresses: ["127.0.0.1:5432"], mode: observe, upstream_tls: disable}
identities: [identities.yaml]
policies: [p]
shadow: [next]
collector: {address: "127.0.0.1:24224", api: "http://127.0.0.1:8080"}
"""
IDENTITIES = "- {principal: ann, person: ann, groups: [engineers], when: {user: '0'}}\n"


class Told(list[tuple[str, str]]):
    """The records of what the agent did: event and detail. `more` has the rest of the last."""

    more: dict[str, str]

    def __call__(self, event: str, detail: str, **more: str) -> None:
        self.append((event, detail))
        self.more = more

    @property
    def events(self) -> list[str]:
        return [event for event, _ in self]


@contextmanager
def files(folder: Path) -> Iterator[Path]:
    (folder / "identities.yaml").write_text(IDENTITIES)
    (folder / "agent.yaml").write_text(AGENT)
    yield folder / "agent.yaml"


def reloader(house: House, path: Path) -> tuple[Reloader, Told]:
    store = house.listener._store
    told = Told()
    settings = load_agent(path)
    store.become(settings.datastores[0])
    return Reloader(settings, str(path), Directory([]), house.services, [store], [house.listener], told), told


def observed(folder: Path, **more: Any) -> House:
    return House(folder, classification=CLASSIFICATION, mode="observe", shadow=POLICIES, **more)


def test_policies_and_identities_are_taken_when_they_change(tmp_path: Path) -> None:
    async def use() -> None:
        async with observed(tmp_path) as house:
            with files(tmp_path) as path:
                taking, told = reloader(house, path)
                taking.look()
                assert told == []
                house.write_policies(POLICIES + '@id("more") permit (principal, action, resource);')
                taking.look()
                assert told == [("reload", "")]
                assert house.policies.engine.epoch == 2
                assert isinstance(taking.directory, Directory)
                house.write_policies("permit (nobody);")
                taking.look()
                assert told.events == ["reload", "reload-refused"]
                assert house.policies.engine.epoch == 2

    play(use())


def test_what_lasts_is_looked_at_again_when_policies_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def use() -> None:
        async with observed(tmp_path) as house:
            with files(tmp_path) as path:
                taking, _ = reloader(house, path)
                await house.begun()
                (connection,) = house.listener.connections
                epochs: list[int] = []
                monkeypatch.setattr(
                    type(connection.session), "reconsider", lambda _: epochs.append(house.policies.engine.epoch)
                )
                house.write_policies("permit (nobody);")
                taking.look()
                await asyncio.sleep(0.02)
                assert epochs == [], "they are as they were"
                house.write_policies(POLICIES + '@id("more") permit (principal, action, resource);')
                taking.look()
                await asyncio.sleep(0.02)
                assert epochs == [2]

    play(use())


def test_what_is_tried_is_taken_by_itself(tmp_path: Path) -> None:
    async def use() -> None:
        async with observed(tmp_path) as house:
            with files(tmp_path) as path:
                taking, told = reloader(house, path)
                taking.tell_shadow()
                assert told == [("shadow", "epoch 1 is tried")]
                house.write_policies("permit (nobody);", "next")
                taking.look()
                assert told.events == ["shadow", "shadow-refused"]
                assert "next/all.cedar:1" in told[1][1]
                assert house.policies.engine.epoch == 1, "the one in force is not read again for it"
                assert "shadow_reloads_total" in house.metrics.text().decode()

    play(use())


def test_modes_are_taken_when_told_to_and_not_when_the_file_changes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def use() -> None:
        async with observed(tmp_path) as house:
            with files(tmp_path) as path:
                taking, told = reloader(house, path)
                store = house.listener._store
                client = await house.begun()
                path.write_text(AGENT.replace("observe", "enforce"))
                taking.look()
                assert store.observed
                assert taking.reload()
                assert store.enforced
                assert told.events == ["shadow", "reload", "mode"]
                assert told.more == {"datastore": "orders", "from": "observe", "to": "enforce"}
                assert errors_of(await client.ask("DROP TABLE scratch")) != []
                assert not taking.reload(), "it is already so"
                path.write_text(AGENT)
                assert taking.reload()
                assert store.observed
                assert "NO LONGER ENFORCED" in caplog.text
                assert errors_of(await client.ask("DROP TABLE scratch")) == []

    with caplog.at_level(logging.WARNING):
        play(use())


@pytest.mark.parametrize("credential", ["", ", credential: {user: app}"])
def test_what_a_credential_means_while_it_is_observed_is_said_when_it_turns(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, credential: str
) -> None:
    enforced = AGENT.replace("mode: observe", f"mode: enforce{credential}")

    async def use() -> None:
        async with observed(tmp_path) as house:
            with files(tmp_path) as path:
                path.write_text(enforced)
                taking, _ = reloader(house, path)
                path.write_text(enforced.replace("enforce", "observe"))
                assert taking.reload()
                path.write_text(enforced)
                assert taking.reload()

    with caplog.at_level(logging.WARNING):
        play(use())
    told = [text for text in caplog.messages if text.startswith("datastore orders: ")]
    assert [text.partition(", and ")[0] for text in told] == (
        ["datastore orders: whoever has a role there is let in with the agent's credential"] if credential else []
    )


def test_what_becomes_of_clients_tls_is_taken_with_it(tmp_path: Path) -> None:
    async def use() -> None:
        async with observed(tmp_path) as house:
            with files(tmp_path) as path:
                taking, _ = reloader(house, path)
                settings = house.listener._store.settings
                assert settings.tls_of_clients == "pass"
                path.write_text(AGENT.replace("mode: observe", "mode: observe, client_tls: disable"))
                assert not taking.reload(), "no mode has changed"
                assert house.listener._store.settings.tls_of_clients == "disable"

    play(use())


def test_the_rest_waits_for_a_restart_and_a_mistake_changes_nothing(tmp_path: Path) -> None:
    async def use() -> None:
        async with observed(tmp_path) as house:
            with files(tmp_path) as path:
                taking, told = reloader(house, path)
                path.write_text(AGENT.replace("mode: observe", "mode: enforce") + "limits: {connections: 7}\n")
                assert taking.reload()
                assert ("restart-needed", "limits.connections") in told
                for broken in (AGENT.replace("observe", "observed"), "agent: ["):
                    path.write_text(broken)
                    epoch = house.policies.engine.epoch
                    assert not taking.reload()
                    assert told[-1][0] == "reload-refused"
                    assert house.policies.engine.epoch == epoch
                path.unlink()
                assert not taking.reload()
                assert house.listener._store.enforced

    play(use())


def test_policies_that_cant_be_taken_keep_the_mode(tmp_path: Path) -> None:
    """Whoever turns enforcement on means it with the policies that are there."""

    async def use() -> None:
        async with observed(tmp_path) as house:
            with files(tmp_path) as path:
                taking, told = reloader(house, path)
                path.write_text(AGENT.replace("observe", "enforce"))
                house.write_policies("permit (nobody);")
                assert not taking.reload()
                assert house.listener._store.observed
                assert told.events[-1] == "reload-refused"

    play(use())
