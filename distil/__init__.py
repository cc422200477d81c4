"""distil: distributed imitation learning, from a laptop to a Ray cluster.

The names in `__all__` are the Python API. Each is imported when it is first used, so `import distil` costs nothing.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from distil.api import Run as Run
    from distil.api import collect as collect
    from distil.api import evaluate as evaluate
    from distil.api import label as label
    from distil.api import load_policy as load_policy
    from distil.api import load_reward as load_reward
    from distil.api import open_run as open_run
    from distil.api import train as train
    from distil.errors import InputError as InputError
    from distil.errors import RunError as RunError
    from distil.interchange.add import Store as Store

__all__ = [
    "InputError",
    "Run",
    "RunError",
    "Store",
    "collect",
    "evaluate",
    "label",
    "load_policy",
    "load_reward",
    "open_run",
    "train",
]

_MODULES = {
    "InputError": "distil.errors",
    "RunError": "distil.errors",
    "Store": "distil.interchange.add",
}  # the rest: distil.api


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'distil' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_MODULES.get(name, "distil.api")), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
