"""Python's garbage collector, out of the way where it costs much and finds nothing."""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def quick_imports() -> Iterator[None]:
    """Import without collecting: torch and transformers make a million objects that all stay, a fifth of their time.

    What has come is set aside until a training loop ends (`no_collection`), so that collections before it are short.
    """
    modules = len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) > modules:
            gc.freeze()
        gc.enable()


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """Keep the collector out of a training loop, whose steps make no cycles: objects that live now are set aside."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()
