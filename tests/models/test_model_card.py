"""The model card says what a reader of the hub asks, and nothing of the machine that it was written on."""

from __future__ import annotations

import dataclasses

import pytest

from pdstudy import KD, Corpus, HubDataset, LocalFiles, Packaged, Pretrained, Run
from pdstudy.models.model_card import model_card
from tests.core.test_normal import make_run, make_teacher

EVAL = {"split": "test", "loss": 2.71828, "bits_per_byte": 1.05, "tokens_scored": 4096}


def card(run: Run) -> str:
    return model_card(run, "0123456789abcdef", 10, 7152, [EVAL])


def front_matter(text: str) -> list[str]:
    first, head, _ = text.split("---\n", 2)
    assert first == ""
    return head.splitlines()


def test_a_distilled_student_names_its_teacher_text_and_losses() -> None:
    objective = KD(teacher=Pretrained(path="/data/teachers/glm-4-9b"), alpha=0.8)
    texts = Corpus(
        sources=(LocalFiles(paths=("/home/me/texts/*.jsonl",)), HubDataset(name="org/text", revision="a1b2"))
    )
    run = dataclasses.replace(make_run(objective=objective), corpus=texts)
    text = card(run)
    assert "The teacher is `glm-4-9b`." in text
    assert "local files `*.jsonl`; the data set org/text, train split, revision a1b2." in text
    assert "/data" not in text
    assert "/home" not in text
    assert "alpha `0.8`" in text
    assert "| test | 2.7183 | 1.0500 | 4,096 |" in text
    head = front_matter(text)
    assert "- distillation" in head
    assert head[-2:] == ["datasets:", "- org/text"]
    assert [line for line in head if "license" in line] == [
        "# license: yours to choose; mind those of the text and of the teacher"
    ]


@pytest.mark.parametrize("objective", [None, KD(teacher=make_teacher(), alpha=0.0)])
def test_what_was_not_distilled_says_so(objective: KD | None) -> None:
    run = make_run() if objective is None else make_run(objective=objective)
    text = card(dataclasses.replace(run, corpus=Corpus(sources=(Packaged(name="shakespeare"),))))
    assert "The plain language-modelling loss." in text
    assert "- pre-training" in front_matter(text)
    assert "the packaged text shakespeare." in text


def test_a_teacher_of_the_study_is_known_by_its_tokens() -> None:
    teacher = make_teacher()
    assert f"trained on {teacher.num_tokens:,} tokens." in card(make_run(objective=KD(teacher=teacher)))
