"""Finding and importing study files. An error in one becomes a single line that names the place."""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pdstudy.core.errors import ConfigError
from pdstudy.core.identity import class_named, forget_fingerprints
from pdstudy.core.origin import Call, Place
from pdstudy.core.validation import nearest
from pdstudy.study.collection import Collection
from pdstudy.study.helper_modules import helper_modules
from pdstudy.study.study import Study

T = TypeVar("T")


def find_study(name: str) -> Path:
    """The file of a study, or the folder of several, from a path or from its name in `studies/`."""
    for path in (Path(name), Path("studies") / f"{name}.py", Path("studies") / name):
        if path.is_file() or (path.is_dir() and any(path.glob("*.py"))):
            return path
    files = sorted(path.stem for path in Path("studies").glob("*.py"))
    folders = sorted({path.parent.name for path in Path("studies").glob("*/*.py")})
    near = nearest(Path(name).stem, files + folders)
    here = [
        f"{kind} in studies/: {', '.join(names)}" for kind, names in (("files", files), ("folders", folders)) if names
    ]
    known = "; ".join(here) or f"there is none in {Path('studies').resolve()}; `pdstudy new NAME` writes one"
    raise ConfigError(f"no study file {name!r}" + (f" ({near})" if near else "") + f"; {known}")


def load_study(name: str, scale: str | None = None) -> Study:
    """Import a study file and call its `study(scale)`; of a folder, all files that define one, as a `Collection`.

    Raises `ConfigError` with file and line on any error in them.
    """
    path = find_study(name)
    if path.is_dir():
        forget_fingerprints()
        with helper_modules(path.resolve()):  # one for all files: what they share is one object
            found = [_load(file, scale, Study) for file in sorted(path.glob("*.py"))]
        studies = [made for made, _ in found if made is not None]
        if not studies:
            raise ConfigError(f"no file in {path} defines a function `study(scale)`")
        if all(ignores for made, ignores in found if made is not None):
            raise ConfigError(f"{path} has no scale {scale!r}: its studies are the same with any")
        return Collection.of(f"{path.resolve().name}-{scale}" if scale else path.resolve().name, studies)
    if path.suffix != ".py":
        raise ConfigError(f"{path} is no Python file; a study is a .py file that defines `study(scale)`")
    return load_declared(path, scale, Study)


def load_declared(path: Path, scale: str | None, wanted: type[T]) -> T:
    """The study or search that a file declares. Raises `ConfigError` where it declares none."""
    found = find_declared(path, scale, wanted)
    if found is None:
        name, other = ("study", "search") if wanted is Study else ("search", "study")
        raise ConfigError(f"{path} defines no function `{name}(scale)`; {_instead(path, name, other)}")
    return found


def find_declared(path: Path, scale: str | None, wanted: type[T]) -> T | None:
    """The study or search that a file declares, or None. Raises `ConfigError` on any error in it."""
    forget_fingerprints()
    with helper_modules(path.resolve().parent):
        found, ignores = _load(path, scale, wanted)
    if ignores:
        raise ConfigError(f"{path} has no scale {scale!r}: its {wanted.__name__.lower()}(scale) is the same with any")
    return found


def _load(path: Path, scale: str | None, wanted: type[T]) -> tuple[T | None, bool]:
    """The study or search of one file, None where it declares none; and whether it ignores the scale."""
    name = wanted.__name__.lower()
    spec = importlib.util.spec_from_file_location(f"pdstudy_study_{path.stem}", path.resolve())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
        if hasattr(module, name):
            made = _called(getattr(module, name), path, scale, wanted)
            return made, scale is not None and _ignores(getattr(module, name), scale, made)
        return None, False
    except (ConfigError, KeyboardInterrupt):
        raise
    except BaseException as error:  # SystemExit, too: the command would end as if all were well
        raise ConfigError(_explained(error, path)) from error


def _instead(path: Path, name: str, other: str) -> str:
    """Advice for a file that does not declare what was looked for."""
    if re.search(rf"^(def |.*\bimport .*)?{other}\b", path.read_text(), re.MULTILINE):
        return f"it declares a {other}: `pdstudy {'search' if other == 'search' else 'run'}`"
    if name == "study":
        return "`pdstudy new NAME` writes an example"
    return "`pdstudy new NAME --with search` writes an example"


def _called(function: object, path: Path, scale: str | None, wanted: type[T]) -> T:
    name = wanted.__name__.lower()
    if not callable(function):
        raise ConfigError(f"{path}: {name} is {function!r}; allowed: a function `{name}(scale)`")
    try:
        inspect.signature(function).bind(*([] if scale is None else [scale]))
    except TypeError as error:
        given = "no scale was given (--scale)" if scale is None else f"scale {scale!r} was given"
        raise ConfigError(f"{path}: {given}, and {name}{inspect.signature(function)} does not take that") from error
    if scale is None:
        made = function()
    else:
        try:
            made = function(scale)
        except KeyError as error:
            if error.args != (scale,):
                raise
            about = inspect.getdoc(function) or ""
            raise ConfigError(f"{path} has no scale {scale!r}. {about}".rstrip()) from error
    if not isinstance(made, wanted):
        found = "None" if made is None else type(made).__name__
        raise ConfigError(
            f"{path}{_last_line(function)}: {name}(scale) returned {found}, not a {wanted.__name__}; "
            f"end it with `return {wanted.__name__}(...)`"
        )
    return made


def _last_line(function: object) -> str:
    """The line at which a function ends, as `:12`; that of its last statement where that returns nothing."""
    code = getattr(function, "__code__", None)
    lines = [] if code is None else [line for _, _, line in code.co_lines() if line]
    return f":{lines[-1]}" if lines else ""


def _ignores(function: Callable[..., object], scale: str, made: object) -> bool:
    """Whether a function makes of a scale what it makes of none, and of a name that nobody gives a scale."""
    (parameter, *_) = inspect.signature(function).parameters.values()
    if parameter.default in (inspect.Parameter.empty, scale):
        return False
    try:
        return bool(function("no scale has this name") == made == function())
    except Exception:  # it knows its scales
        return False


def _explained(error: BaseException, path: Path) -> str:
    call, line = None, 0
    at = error.__traceback__
    while at is not None:
        if Path(at.tb_frame.f_code.co_filename).resolve() == path.resolve():
            call, line = Call(at.tb_frame.f_code, at.tb_lasti), at.tb_lineno
        at = at.tb_next
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename).resolve() == path.resolve():
        line = error.lineno or 0
    text = f"{path}:{line}: {type(error).__name__}: {' '.join(str(error).split())}"
    missed = re.search(r"name '(\w+)' is not defined|cannot import name '(\w+)' from 'pdstudy' ", str(error))
    if missed:
        near = nearest(missed[1] or missed[2], sys.modules["pdstudy"].__all__)  # not imported: it stands above this
        text += f" ({near})" if near else ""
    unknown = re.search(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'", str(error))
    if unknown:
        cls = _class(path, unknown[1])
        known = list(inspect.signature(cls).parameters) if cls else []
        near = nearest(unknown[2], known)
        line = Place(call, unknown[2]).spot()[1] if call is not None else line
        text = f"{path}:{line}: {unknown[1]} has no field {unknown[2]!r}; its fields: {', '.join(known)}" + (
            f" ({near})" if near else ""
        )
    return text


def _class(path: Path, name: str) -> type | None:
    """The class that a study file knows by a name, or that pdstudy has of that name."""
    found = getattr(sys.modules.get(f"pdstudy_study_{path.stem}"), name, None)
    return found if isinstance(found, type) else Study if name == "Study" else class_named(name)
