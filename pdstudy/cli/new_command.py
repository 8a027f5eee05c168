"""The command `new`: a study file to begin with, its student a `Shape` or a small model of a published family."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from pdstudy.cli.arguments import AddCommand
from pdstudy.cli.terminal import say
from pdstudy.config.model import TransformersConfig
from pdstudy.core.errors import ConfigError
from pdstudy.core.files import user_path, write_bytes

TEMPLATES = {
    "quickstart": "a student with and without a teacher, on packaged text: minutes on two cores",
    "own-data": "three students on your text, with your teacher from a folder",
    "scaling": "sizes by budgets of tokens, with and without a teacher",
    "search": "a search of a mixture of losses and a learning rate",
    "slurm": "a grid for a cluster, with what its jobs need",
}
"""Files to begin with, each `templates/new_*.txt`."""

SIZES = {
    "hidden_size": "width",
    "num_hidden_layers": "layers",
    "num_attention_heads": "width // 16",
    "num_key_value_heads": "width // 32",
    "num_kv_heads": "width // 32",
    "head_dim": "16",
    "intermediate_size": "3 * width",
    "n_inner": "3 * width",
    "ffn_dim": "3 * width",
    "ffn_hidden_size": "3 * width",
    "moe_intermediate_size": "width",
    "word_embed_proj_dim": "width",
    "initializer_range": "0.4 / width**0.5",
}
"""Settings of transformers' configurations that a small student sets, each with its value by width and layers."""

_SHAPE = re.compile(r"def shape\(.*?vocab=([^,)\n]+).*?\n\n\n", re.DOTALL)
_IMPORT = re.compile(r"from pdstudy import \(\n(.*?)\n\)", re.DOTALL)


def add(command: AddCommand) -> None:
    sub = command("new", _new, "write a commented study file to start from", study=False, json=False)
    sub.formatter_class = argparse.RawDescriptionHelpFormatter
    sub.epilog = "\n".join(["what it begins with:", *(f"  {name:<12} {text}" for name, text in TEMPLATES.items())])
    sub.add_argument("name", help="name of the study; the file is studies/NAME.py")
    sub.add_argument(
        "--with", dest="template", choices=TEMPLATES, default="quickstart", help="what it begins with (below)"
    )
    sub.add_argument(
        "--from-config", metavar="CONFIG", help="students are small models of the family of this config.json"
    )


def _new(args: argparse.Namespace) -> int:
    path = write_study(args.name, args.template, args.from_config)
    say(f"wrote {path}; next: pdstudy plan {args.name}")
    return 0


def write_study(name: str, template: str = "quickstart", config: str | None = None) -> Path:
    """Write `studies/<name>.py`, with students of the family of a config.json where one is given.

    Raises `ConfigError` for a name that cannot be a file, a file that is there, or a config.json of no language model.
    """
    if not name.replace("_", "a").replace("-", "a").isalnum():
        raise ConfigError(f"name: found {name!r}; allowed: letters, digits, '-' and '_'")
    path = Path("studies") / f"{name}.py"
    if path.exists():
        raise ConfigError(f"{path} exists; choose another name or edit it")
    text = (Path(__file__).parent / "templates" / f"new_{template.replace('-', '_')}.txt").read_text(encoding="utf-8")
    if config is not None:
        text = _with_family(text, config)
    write_bytes(path, text.replace("my_study", name).encode())
    return path


def _with_family(text: str, config: str) -> str:
    """A template whose function `shape` makes small models of the family of a config.json."""
    found = _SHAPE.search(text)
    listed = _IMPORT.search(text)
    assert found is not None
    assert listed is not None
    settings = ", ".join(f"{name}={value}" for name, value in small_settings(config).items())
    where = config if Path(config).is_absolute() else str(user_path(config))
    student = f"""\
CONFIG = {where!r}


def shape(width: int, layers: int) -> TransformersConfig:
    # Its family, with these settings changed; all others are the file's. A multiple of 32 is a width.
    return TransformersConfig.from_folder(
        CONFIG, vocab={found[1]}, {settings},
    )


"""
    names = sorted({*re.findall(r"\w+", listed[1])} - {"Shape"} | {"TransformersConfig"})
    imports = "from pdstudy import (\n" + "".join(f"    {name},\n" for name in names) + ")"
    return _SHAPE.sub(lambda _: student, text).replace(listed[0], imports)


def small_settings(config: str) -> dict[str, str]:
    """Settings that make a small model of a published one, by the names of its family, each as an expression.

    Chances of dropping are 0, as students have them. Raises `ConfigError` where the file is of no language model.
    """
    from pdstudy.models.student_config import RANDOM, configuration_class

    published = TransformersConfig.from_folder(config, vocab=1)
    kind = configuration_class(published.model_type)
    fields, given = kind.__dataclass_fields__, dict(published.settings)
    made = {}
    for name, value in SIZES.items():
        own = kind.attribute_map.get(name, name)
        if own in fields:
            made[own] = value
    defaults = kind().to_dict()
    for name in sorted({*defaults, *given}):
        value = given.get(name, defaults.get(name))
        if any(part in name for part in RANDOM) and isinstance(value, float) and value > 0:
            made[name] = "0.0"
    return made
