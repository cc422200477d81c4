"""The user's own modules (heads, backbones): imported, made from the seed, and their faults named in one line."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import nn

from distil.config import import_target
from distil.errors import InputError, RunError

M = TypeVar("M", bound=nn.Module)


def class_of(target: str, what: str, base: type[M]) -> type[M]:
    """Return the class that `target` (package.module:Class) names.

    Raises:
        InputError: it cannot be imported, is no subclass of `base`, or lacks one of its methods.
    """
    found = import_target(target, what)
    if not isinstance(found, type) or not issubclass(found, base):
        raise InputError(f"{what} {target}: not a subclass of {base.__module__}.{base.__name__}; derive the class from it")
    if missing := sorted(getattr(found, "__abstractmethods__", ())):
        raise InputError(f"{what} {target}: has no method {', '.join(missing)}; define it")
    return found


def make(cls: type[M], target: str, what: str, kwargs: Mapping[str, Any], generator: torch.Generator) -> M:
    """Return `cls(**kwargs)`. Its start weights come from `generator`, although it draws from torch's global random state.

    Raises:
        InputError: the constructor raises.
    """
    seed = int(torch.randint(1 << 62, (), generator=generator, device="cpu"))
    with torch.random.fork_rng(devices=[]), naming_faults(target, what, f"{cls.__name__}(...)"):
        torch.default_generator.manual_seed(seed)
        return cls(**kwargs)


@contextmanager
def naming_faults(target: str, what: str, call: str) -> Iterator[None]:
    """Turn an exception of the user's code into an InputError of one line that names the target and the call."""
    try:
        yield
    except (InputError, RunError):
        raise
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise InputError(f"{what} {target}: {call} raises {reason}; fix the class") from error


@contextmanager
def naming_class(targets: Sequence[str]) -> Iterator[None]:
    """Turn an exception from a method of one of the classes `targets` into a RunError of one line that names the class.

    Other exceptions pass: they are not the user's.
    """
    try:
        yield
    except (InputError, RunError):
        raise
    except Exception as error:
        callers = [frame.f_locals.get("self") for frame, _ in traceback.walk_tb(error.__traceback__)]
        target = next((t for t in targets if any(isinstance(each, import_target(t, "policy")) for each in callers)), None)
        if target is None:
            raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise RunError(f"policy {target} raised {reason}; fix the class") from error
