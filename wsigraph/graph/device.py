"""Where networks run: the processor, or a GPU.

Every command that runs a network takes its device from ``runtime.device`` (``--device``), and every function that takes
a device asks `find_device`. Records are made from exact integers wherever that is possible; networks on a GPU add in
another order, so their numbers differ from those of the processor within the tolerance that `TOLERANCE` states.
"""

from __future__ import annotations

from functools import cache

from wsigraph.errors import ConfigError

TOLERANCE = {"rtol": 2e-3, "atol": 2e-3}
"""Largest relative and absolute difference between the outputs of a network on two devices."""


def present_devices() -> tuple[str, ...]:
    """Return the devices of this machine that torch can use, ``cpu`` first.

    Returns
    -------
    tuple of str
        ``cpu``, then ``cuda`` and ``cuda:1``, ``cuda:2``, ... for every GPU, or ``mps``.
    """
    import torch

    n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    gpus = ["cuda", *(f"cuda:{number}" for number in range(1, n_gpus))] if n_gpus else []
    return ("cpu", *gpus, *(["mps"] if torch.backends.mps.is_available() else []))


@cache
def find_device(name: str) -> str:
    """Return the device of a name, after checking that it is there.

    Parameters
    ----------
    name : str
        ``cpu``, ``cuda``, ``cuda:1``, ``mps``, or ``auto``, which is the first GPU, and the processor without one.

    Returns
    -------
    str
        As torch spells it.

    Raises
    ------
    ConfigError
        If this machine has no such device; the message names those that it has.
    """
    if name == "cpu":
        return name  # without importing torch
    devices = present_devices()
    if name == "auto":
        return next((device for device in devices if device != "cpu"), "cpu")
    if name.removesuffix(":0") not in devices:
        raise ConfigError(
            f"device {name!r} is not on this machine, expected auto or one of {', '.join(devices)}; choose one with "
            "--device, or install a build of torch that supports it"
        )
    return name
