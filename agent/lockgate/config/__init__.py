"""One typed, validated configuration. Every error names the file, the line and the key.

The shapes are `AgentFile` (agent.yaml) and `CollectorFile` (collector.yaml); unknown keys are errors, so that a
misspelt `mode: enforced` never means "observe".
"""

from lockgate.config.addresses import is_host_name, split_address
from lockgate.config.changes import left, turned
from lockgate.config.credentials import Credential, Role
from lockgate.config.document import ConfigError, Document
from lockgate.config.files import (
    AGENT_YAML,
    COLLECTOR_YAML,
    load_agent,
    load_classification,
    load_collector,
    load_identities,
)
from lockgate.config.shapes import (
    RESERVED,
    UNMATCHED,
    Agent,
    AgentFile,
    CatalogReader,
    Collector,
    CollectorClient,
    CollectorFile,
    Datastore,
    Identity,
    Intercept,
    Limits,
    Masking,
    Selector,
    SpoolSettings,
)

__all__ = [
    "AGENT_YAML",
    "COLLECTOR_YAML",
    "RESERVED",
    "UNMATCHED",
    "Agent",
    "AgentFile",
    "CatalogReader",
    "Collector",
    "CollectorClient",
    "CollectorFile",
    "ConfigError",
    "Credential",
    "Datastore",
    "Document",
    "Identity",
    "Intercept",
    "Limits",
    "Masking",
    "Role",
    "Selector",
    "SpoolSettings",
    "is_host_name",
    "left",
    "load_agent",
    "load_classification",
    "load_collector",
    "load_identities",
    "split_address",
    "turned",
]
