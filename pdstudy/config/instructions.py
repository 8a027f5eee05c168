"""Instruction data for finetuning: sources of examples, the template that makes text of them, their share of a step.

Made into token sequences by `pdstudy.corpus.examples`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from pdstudy.config.text_files import check_text_files, find_text_files
from pdstudy.core.files import content_hash, content_or_name
from pdstudy.core.identity import declared
from pdstudy.core.pinned_packages import CORPORA
from pdstudy.core.validation import Problem

DEFAULT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}"
    "{{ 'Answer:' }}{% generation %}{{ ' ' + message['content'] + eos_token }}{% endgeneration %}"
    "{% elif message['role'] == 'system' %}{{ message['content'] + '\\n\\n' }}"
    "{% else %}{{ 'Question: ' + message['content'] + '\\n' }}{% endif %}"
    "{% endfor %}"
)
"""Chat template in plain words, which needs no special token but the end of a document.

Text between `generation` marks is a response, and learned, with the end after it.
"""


@declared
class LocalExamples:
    """Rows of `{"messages": [{"role": ..., "content": ...}, ...]}` or `{"prompt": ..., "response": ...}`.

    Files are of any kind that `LocalFiles` reads, JSON lines where the ending says nothing; folders and globs are
    allowed. A content may be a list of text parts. Conversations with a content that is null or no text (a call of a
    tool, an image), or with an empty response, are left out and counted. Identity is the files' content.
    """

    paths: tuple[str, ...]

    def content(self) -> dict[str, str]:
        files = [find_text_files(pattern) for pattern in self.paths]
        return {"paths": content_hash(str(file) for each in files for file in each) if all(files)
                else content_or_name(self.paths)}  # fmt: skip

    def check(self) -> Iterator[Problem]:
        yield from check_text_files(self.paths, any_kind=True)


@declared
class Definitions:
    """ "Define X." with the first definition of X, out of a pinned package; no evaluation set has such items."""

    name: Literal["dictionary", "wikipedia-leads"] = "wikipedia-leads"

    def content(self) -> dict[str, str]:
        return {"name": CORPORA[self.name].identity}


@declared
class Instructions:
    """Examples of which a run learns the responses, mixed with its pre-training text.

    `share` of each step's sequences (rounded to whole ones) hold packed examples, the others the text of `Run.data`:
    in tokens, the paper's half and half is 0.5. `template` is a Jinja chat template whose responses stand between
    `{% generation %}` marks. `validation` of the examples, by the hash of their content, are never trained on.
    """

    sources: tuple[LocalExamples | Definitions, ...]
    share: float = 0.5
    template: str = DEFAULT_TEMPLATE
    validation: float = 0.05

    def check(self) -> Iterator[Problem]:
        if not self.sources:
            yield Problem("sources", self.sources, "at least one source")
        if not 0 < self.share <= 1:
            yield Problem("share", self.share, "above 0, up to 1")
        if not 0 < self.validation < 0.5:
            yield Problem("validation", self.validation, "a share above 0 and below 0.5")
        if not re.search(r"\{%[-+]?\s*generation\s*[-+]?%\}", self.template):
            yield Problem("template", self.template, "a chat template with {% generation %} around what is learned")

    def rows(self, sequences_per_step: int) -> int:
        """Sequences of a step that hold examples: one or more."""
        return max(1, round(self.share * sequences_per_step))
