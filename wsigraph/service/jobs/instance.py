"""Names of services in the job store, from which another service of the same machine can tell that one has ended."""

from __future__ import annotations

import hashlib
import os
import secrets

from wsigraph.run.batch.lease import host_identity, is_gone


def new_instance() -> str:
    """Return the name of a service in the store: its machine, its process and a random text."""
    return f"{_machine()}-{os.getpid()}-{secrets.token_hex(8)}"


def is_ended(instance: str) -> bool:
    """Return whether a service of this machine has ended for certain; False for one of another machine."""
    machine, _, rest = instance.partition("-")
    process = rest.partition("-")[0]
    return machine == _machine() and process.isdigit() and is_gone(host_identity(), int(process))


def _machine() -> str:
    return hashlib.sha256(host_identity().encode()).hexdigest()[:12]
