"""distil: distributed imitation learning, from a laptop to a Ray cluster.

The names below are the Python API (`distil.api`); they are imported when first used, so `import distil` costs nothing.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from distil.api import Run as Run
    from distil.api import collect as collect
    from distil.api import evaluate as evaluate
    from distil.api import label as label
    from distil.api import load_policy as load_policy
    from distil.api import open_run as open_run
    from distil.api import train as train
    from distil.interchange.add import Store as Store

__all__ = ["Run", "Store", "collect", "evaluate", "label", "load_policy", "open_run", "train"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'distil' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module("distil.interchange.add" if name == "Store" else "distil.api"), name)
