"""The garbage collector stays out of imports and training loops, and comes back."""

from __future__ import annotations

import contextlib
import gc
import importlib
import sys
from collections.abc import Callable, Iterator

import pytest

from pdstudy.core.collector import no_collection, quick_imports


@pytest.fixture(autouse=True)
def _thawed() -> Iterator[None]:
    yield
    gc.unfreeze()


def test_what_an_import_makes_is_set_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    gc.unfreeze()
    monkeypatch.delitem(sys.modules, "this", raising=False)
    with quick_imports():
        assert not gc.isenabled()
        sys.modules["this"] = type(sys)("this")
    assert gc.isenabled()
    assert gc.get_freeze_count() > 0


def test_nothing_is_set_aside_where_all_was_imported_before() -> None:
    gc.unfreeze()
    with quick_imports():
        importlib.import_module("gc")
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def _fail(context: contextlib.AbstractContextManager[None]) -> None:
    with context:
        assert not gc.isenabled()
        raise KeyError


@pytest.mark.parametrize("context", [quick_imports, no_collection])
def test_the_collector_comes_back_after_an_error(
    context: Callable[[], contextlib.AbstractContextManager[None]],
) -> None:
    with pytest.raises(KeyError):
        _fail(context())
    assert gc.isenabled()
