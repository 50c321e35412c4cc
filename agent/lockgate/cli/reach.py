"""How a command reaches the agent of this host and the collector, and says so when it can't."""

from __future__ import annotations

from typing import Any

import click
import msgspec
import yaml

from lockgate.cli.show import plain
from lockgate.config import AgentFile, CollectorFile, load_agent, load_collector

ANSWER_SECONDS = 10.0
VERIFY_SECONDS = 600.0
"""A million records are verified in some twenty seconds."""


class Failure(click.ClickException):
    """The thing asked about failed: exit status 1."""

    exit_code = 1

    def format_message(self) -> str:
        # a collector's words may quote what a client, or another host, has said
        return plain(self.message, keep="\n")


def load(path: str) -> AgentFile | CollectorFile:
    """agent.yaml or collector.yaml, told by its keys: only the first has `agent`. Raises ConfigError."""
    try:
        with open(path, encoding="utf-8") as file:
            keys = yaml.safe_load(file)
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        keys = None  # the loader says what is wrong with it, and where
    if isinstance(keys, dict) and "collector" in keys and "agent" not in keys:
        return load_collector(path)
    return load_agent(path)


class Api:
    """The collector's API, asked as the person at the keyboard. Every method raises Failure."""

    def __init__(self, settings: AgentFile) -> None:
        self._settings = settings

    def get(self, path: str, timeout: float = ANSWER_SECONDS, **parameters: str | int | float | None) -> Any:
        given = {name: value for name, value in parameters.items() if value is not None}
        return self._ask("GET", path, self._token("token"), timeout, params=given)

    def decide(self, hold: dict[str, Any], decision: str, comment: str, grant: int | None = None) -> Any:
        """Signs and sends a decision on the hold that was seen; `grant` is for how many seconds more of its kind may
        run."""
        identifier, digest = hold["id"], hold["digest"]
        body = {"digest": digest, "comment": comment}
        if grant is not None:
            body["grant"] = self._token("grant-token", hold=identifier, fingerprint=hold["fingerprint"], seconds=grant)
        token = self._token("approval-token", hold=identifier, digest=digest, decision=decision)
        return self._ask("POST", f"/v1/holds/{identifier}/{decision}", token, ANSWER_SECONDS, json=body)

    def revoke(self, grant: str, comment: str) -> Any:
        """Signs, which this host's agent records, and sends the end of a grant."""
        token = self._token("revocation-token", grant=grant, comment=comment)
        return self._ask("POST", f"/v1/grants/{grant}/revoke", token, ANSWER_SECONDS, json={"comment": comment})

    def _token(self, op: str, **fields: str | int) -> str:
        from lockgate.approval.ask import AgentAway, AgentRefused, ask

        try:
            return str(ask(self._settings.agent.run_dir, op, **fields)["token"])
        except AgentAway as error:
            raise Failure(f"{error}: is `lockgate agent` running?") from error
        except AgentRefused as error:
            raise Failure(f"the agent gave no token: {error}") from error

    def _ask(self, method: str, path: str, token: str, timeout: float, **content: Any) -> Any:
        import httpx

        url = self._settings.collector.api.rstrip("/")
        headers = {"Authorization": f"Bearer {token}"}
        try:
            with httpx.Client(trust_env=False, timeout=timeout) as client:
                response = client.request(method, url + path, headers=headers, **content)
        except (httpx.RequestError, httpx.InvalidURL) as error:
            raise Failure(f"the collector at {url} does not answer: {error}") from error
        try:
            answer = msgspec.json.decode(response.content, type=dict[str, Any])
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise Failure(f"{url} answered {response.status_code}, and not as a collector does") from error
        if response.is_success:
            return answer
        raise Failure(f"the collector refused: {answer.get('message', response.status_code)}")
