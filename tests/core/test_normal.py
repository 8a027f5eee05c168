"""Canonical forms and fingerprints: golden values, neutral fields, and what must raise."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdstudy import (
    BPE,
    KD,
    AdamW,
    Corpus,
    Cosine,
    CosineMix,
    Coverage,
    HubDataset,
    LinearMix,
    PeriodicMix,
    Run,
    Shape,
    Slice,
    Start,
    TopPK,
    TransformersConfig,
    Until,
    View,
)
from pdstudy.config.instructions import Definitions, Instructions
from pdstudy.config.normal_form import normal_form
from pdstudy.core.errors import ConfigError
from pdstudy.core.identity import DECLARED, canonical, declared, decode, differences, encode, fingerprint, neutral
from pdstudy.core.validation import problems


def make_run(**changes: object) -> Run:
    fields: dict[str, object] = {
        "student": Shape(width=32, layers=2, heads=2, query_groups=1, ffn=80, vocab=512),
        "corpus": Corpus(sources=(HubDataset(name="demo", revision="1"),), tokenizer=BPE(vocab=512)),
        "data": Slice(tokens=6400),
        "view": View(context=64),
        "optimiser": AdamW(lr=4e-3),
        "schedule": Cosine(warmup_tokens=640),
        "tokens_per_step": 640,
        "tokens": 6400,
    }
    return Run(**(fields | changes))  # type: ignore[arg-type]


def make_teacher() -> Run:
    return make_run(data=Slice(start=6400, tokens=6400))


# Changing one of these orphans every result that users have. A new field must be neutral instead.
GOLDEN = {
    "lm": (make_run(), "8584ec99f73a132c"),
    "kd": (
        make_run(objective=KD(teacher=make_teacher(), truncation=TopPK(p=0.95, k=50), alpha=0.9)),
        "07b4c129630a3602",
    ),
    "shape": (make_run().student, "800c85a428e1cd5b"),
    "family": (
        TransformersConfig(
            model_type="gemma2",
            settings=(
                ("hidden_size", 64),
                ("final_logit_softcapping", 30.0),
                ("hidden_act", "gelu"),
                ("use_cache", False),
                ("rms_norm_eps", 1e-6),
            ),
            vocab=300,
        ),
        "8b5a9942ca372631",
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_fingerprints(name: str) -> None:
    value, expected = GOLDEN[name]
    value = normal_form(value) if isinstance(value, Run) else value
    assert fingerprint(value) == expected


def test_alpha_zero_is_the_lm_run_whatever_the_teacher() -> None:
    plain = make_run()
    for kd in (
        KD(teacher=make_teacher(), alpha=0),
        KD(teacher=make_teacher(), alpha=0.0, truncation=TopPK(p=0.5, k=3)),
    ):
        assert fingerprint(normal_form(dataclasses.replace(plain, objective=kd))) == fingerprint(normal_form(plain))
    with_teacher = dataclasses.replace(plain, objective=KD(teacher=make_teacher(), alpha=0.1))
    assert fingerprint(normal_form(with_teacher)) != fingerprint(normal_form(plain))


def test_steps_and_tokens_name_one_budget() -> None:
    assert normal_form(make_run()) == normal_form(make_run(tokens=None, steps=10))


def test_a_field_added_at_its_neutral_value_changes_no_fingerprint() -> None:
    try:

        @declared
        class Grows:
            a: int = 1

        before = fingerprint(Grows())
        del DECLARED["Grows"]

        @declared
        class Grows:  # type: ignore[no-redef]
            a: int = 1
            b: float = neutral(0.0)

        assert fingerprint(Grows()) == before
        assert fingerprint(Grows(b=0.5)) != before
        assert encode(Grows())["b"] == 0
    finally:
        DECLARED.pop("Grows", None)


def test_whole_floats_and_integers_are_one_value() -> None:
    assert fingerprint(TopPK(p=1, k=5)) == fingerprint(TopPK(p=1.0, k=5))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), len, {1: 2}, {1, 2}])
def test_what_has_no_identity_raises(value: object) -> None:
    with pytest.raises(TypeError):
        canonical({"x": value} if not isinstance(value, dict) else value)


@given(
    st.builds(TopPK, p=st.floats(0.01, 1.0), k=st.one_of(st.none(), st.integers(1, 10**6))),
    st.floats(0, 1),
)
def test_decode_is_the_inverse_of_encode(truncation: TopPK, alpha: float) -> None:
    run = make_run(objective=KD(teacher=make_teacher(), truncation=truncation, alpha=alpha))
    back = decode(json.loads(json.dumps(encode(run))))
    assert back == run
    assert canonical(back) == canonical(run)


def test_decode_refuses_what_it_does_not_know() -> None:
    with pytest.raises(ConfigError, match="unknown class 'Sprout'"):
        decode({"is": "Sprout"})
    with pytest.raises(ConfigError, match="unknown fields"):
        decode({"is": "LM", "strength": 3})


def test_differences_name_the_fields() -> None:
    here, there = encode(make_run()), encode(make_run(optimiser=AdamW(lr=1e-3), seed=4))
    assert {path for path, _, _ in differences(here, there)} == {"optimiser.lr", "seed"}


def test_problems_are_all_reported_with_their_values() -> None:
    run = make_run(
        objective=KD(teacher=make_teacher(), truncation=TopPK(p=1.5, k=0), alpha=2),
        optimiser=AdamW(lr="fast"),  # type: ignore[arg-type]
        tokens=6401,
        data=Slice(tokens=6410),
    )
    found = {p.field: p for p in problems(run)}
    assert set(found) >= {
        "objective.truncation.p",
        "objective.truncation.k",
        "objective.alpha",
        "optimiser.lr",
        "tokens",
    }
    assert found["objective.truncation.p"].found == 1.5
    assert "nearest: tokens=6400, or steps=10" in str(found["tokens"])
    assert "multiple of the context, 64" in str(found["data.tokens"])


def test_a_teacher_may_have_seen_the_students_tokens() -> None:
    overlapping = make_run(data=Slice(start=6336, tokens=6400))
    found = problems(make_run(objective=KD(teacher=overlapping)))
    assert not [p for p in found if p.field.startswith("objective")]


def test_content_is_identity_and_paths_are_not(tmp_path) -> None:  # type: ignore[no-untyped-def]
    from pdstudy import LocalFiles

    for name, text in (("a", "one"), ("b", "one"), ("c", "two")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.txt").write_text(text)
    a, b, c = (fingerprint(LocalFiles(paths=(str(tmp_path / n / "*.txt"),))) for n in "abc")
    assert a == b
    assert a != c


def test_a_sound_run_has_no_problems() -> None:
    assert list(problems(make_run(objective=KD(teacher=make_teacher())))) == []


def test_a_mix_that_is_zero_throughout_is_the_lm_run() -> None:
    for mix in (Until(stop=0), LinearMix(first=0, last=0), PeriodicMix(cycles=2, on=0.0)):
        assert normal_form(make_run(objective=KD(teacher=make_teacher(), mix=mix))) == normal_form(make_run())
    assert normal_form(make_run(objective=KD(teacher=make_teacher(), mix=Until(stop=0.5)))).teacher is not None


def test_coverages_that_differ_late_have_folders_of_their_own() -> None:
    labels = [Coverage(p=p, k=20).label for p in (0.95, 1.0, 0.9999999, 0.99999999)]
    assert labels[:2] == ["p0.95-k20", "p1-k20"]
    assert len(set(labels)) == 4


def test_the_order_of_settings_is_not_identity() -> None:
    pairs = (("hidden_size", 64), ("num_hidden_layers", 2))
    one, other = (TransformersConfig(model_type="gpt2", settings=p, vocab=300) for p in (pairs, pairs[::-1]))
    assert fingerprint(one) == fingerprint(other)
    assert fingerprint(one) != fingerprint(dataclasses.replace(one, settings=pairs[:1]))


@pytest.mark.parametrize("mix", [LinearMix(first=1, last=0), CosineMix(first=1, last=0), LinearMix(first=0, last=1)])
def test_a_mix_that_is_zero_at_one_end_alone_keeps_its_teacher(mix: LinearMix | CosineMix) -> None:
    """Linear Dec of Peng et al. 2024 ends at 0 and distils on the way there."""
    made = normal_form(make_run(objective=KD(teacher=make_teacher(), mix=mix)))
    assert made.teacher is not None
    assert fingerprint(made) != fingerprint(normal_form(make_run()))


def test_a_start_from_all_of_a_run_is_one_whether_its_tokens_are_said_or_not() -> None:
    model = make_run()
    made = [normal_form(make_run(start=Start(model=model, tokens=t))) for t in (None, model.num_tokens, 640)]
    assert fingerprint(made[0]) == fingerprint(made[1])
    assert fingerprint(made[2]) != fingerprint(made[0])


def test_slices_of_two_splits_are_disjoint() -> None:
    here = Slice(start=64, tokens=64)
    assert here.shared(Slice(start=100, tokens=1)) == 1
    assert not here.shared(Slice(start=64, tokens=64, split="test"))
    assert not here.shared(Slice(start=128, tokens=64))


def test_epochs_count_what_is_read_of_the_text_alone() -> None:
    """Of ten sequences a step, five hold examples: ten steps read half of a slice of as many tokens."""
    half = Instructions(sources=(Definitions(name="dictionary"),), share=0.5)
    assert make_run().epochs == 1.0
    assert make_run(instructions=half).epochs == 0.5


@pytest.mark.parametrize(("share", "rows"), [(0.2, 2), (0.5, 4), (0.3, 2), (0.01, 1), (1.0, 8)])
def test_a_share_of_examples_is_rounded_to_whole_sequences(share: float, rows: int) -> None:
    assert Instructions(sources=(Definitions(name="dictionary"),), share=share).rows(8) == rows
