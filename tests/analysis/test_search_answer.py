"""What the page of a search says first: what was found, whether fresh seeds confirm it, how near a bound it lies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pdstudy import Compare
from pdstudy.analysis.data.trials_table import Searched
from pdstudy.analysis.report.page import Answer, Block, Text
from pdstudy.analysis.report.search_answer import answer_search
from pdstudy.analysis.report.study_outputs import Outputs
from pdstudy.core.identity import encode
from tests.analysis.made_workspace import make_workspace


def made_trial(number: int, value: float | None, **fields: Any) -> dict[str, Any]:
    params = {"optimiser.lr": 5e-3, "objective.temperature": "1", "objective.truncation": "top-0.95-100"}
    trial = {
        "number": number, "state": "pruned" if value is None else "complete", "within": True,
        "reason": "rung of 100 tokens" if value is None else "", "values": None if value is None else [value],
        "rungs": {}, "params": params, "weights": {"objective": {"LM": 0.12, "KL": 0.88}}, "trained": 1, "flops": 1e6,
        "full_flops": 2e6, "seconds": 1.0,
    }  # fmt: skip
    return trial | fields


def searched(*trials: dict[str, Any], **changes: Any) -> Searched:
    record = {
        "simplexes": [{"name": "objective", "terms": ["LM", "KL"]}],
        "fields": [
            {"name": "optimiser.lr", "label": "learning rate", "within": "", "kind": "log", "low": 1e-3, "high": 1e-2},
            {"name": "objective.temperature", "label": "temperature", "within": "", "kind": "choice",
             "levels": ["0.7", "1", "1.4"]},
            {"name": "objective.truncation", "label": "truncation", "within": "", "kind": "choice",
             "levels": ["top-0.95-100", "top-0.7-10"]},
        ],
        "objectives": ["validation loss (nats/token)"], "validation": "v", "seeds": [0], "wanted": 4, "lengths": [200],
        "trials": list(trials),
    }  # fmt: skip
    return Searched(record | changes)


FOUND = (made_trial(0, 3.5), made_trial(1, 3.2), made_trial(2, None), made_trial(3, None, reason="diverged"))


def final(folder: Path, losses: dict[str, float], *, noise: float = 0.003) -> Outputs:
    """A final comparison on five seeds, whose validation loss is .1 below that on test."""
    rng = np.random.default_rng(0)
    by_seed = {(arm, str(s)): loss + rng.normal(0, noise) for arm, loss in losses.items() for s in range(10, 15)}
    record = make_workspace(folder, by_seed, {"arm": list(losses)})
    for cell in record["cells"]:
        for name in ("evals.jsonl", "result.json"):
            path = folder / "runs" / cell["run"] / name
            text = path.read_text()
            if name == "result.json":
                result = json.loads(text)
                (test,) = result["evals"]
                result["evals"].append(test | {"eval": "v", "split": "validation", "loss": test["loss"] - 0.1})
                path.write_text(json.dumps(result))
    record["baseline"], record["seeds"] = {"arm": "LM"}, list(range(10, 15))
    record["evaluations"].append({"eval": "v", "split": "validation", "heldout": {"is": "Heldout"}})
    controls = [arm for arm in losses if not arm.startswith("trial")]
    record["outputs"] = [encode(Compare(against=arm)) for arm in controls]
    return Outputs(folder, record)


def said(blocks: list[Block]) -> dict[str, str]:
    return {b.lead if isinstance(b, Answer) else "": b.text for b in blocks if isinstance(b, (Answer, Text))}


def test_the_best_trial_stands_beside_the_controls_on_fresh_seeds(tmp_path: Path) -> None:
    outputs = final(tmp_path, {"LM": 3.6, "KD": 3.301, "trial 1": 3.3, "trial 0": 3.35})
    found = said(answer_search(searched(*FOUND), outputs))
    assert found["Found:"] == (
        "trial 1 has the lowest validation loss of 2 that were trained in full, 3.200 nats/token: 0.12 LM, 0.88 KL; "
        "learning rate 0.00500, temperature 1, truncation top-0.95-100."
    )
    against_lm, against_kd, interval = found["Test loss:"].split("; ", 2)
    assert against_lm.startswith("trial 1 is better than LM, by 0.30 nats/token (outer interval 0.")
    assert against_kd.startswith("within noise of KD (")
    assert "adjusted for 5 comparisons" in against_kd  # three arms against each of two controls, one pair twice
    assert interval == "5 seeds that the search has not seen."
    assert found["Fresh seeds:"].startswith("Trial 1's validation loss of 3.2")
    assert ": no more than seeds alone do (95 % within 0.0" in found["Fresh seeds:"]
    assert found["Fresh seeds:"].endswith("It stays the best of the 2 trials trained again.")
    assert found["Trials:"] == (
        "4 of 4: 2 trained in full, 1 pruned at a rung, 1 diverged. 4M FLOPs, 50% of the same trials all in full."
    )


def test_a_gain_that_fresh_seeds_do_not_confirm_is_said(tmp_path: Path) -> None:
    outputs = final(tmp_path, {"LM": 3.6, "trial 1": 3.5, "trial 0": 3.4})
    text = said(answer_search(searched(*FOUND), outputs))["Fresh seeds:"]
    assert " is 3.4" in text
    assert "worse: more than seeds alone do" in text
    assert (
        "so the search chose it by luck in part. It is not the best of the 2 trials trained again: trial 0 has 3.29"
        in text
    )


def test_scores_of_another_text_are_not_compared(tmp_path: Path) -> None:
    outputs = final(tmp_path, {"LM": 3.6, "trial 1": 3.3})
    assert "Fresh seeds:" not in said(answer_search(searched(*FOUND, validation="another"), outputs))


def test_without_fresh_seeds_the_score_is_called_flattering() -> None:
    found = said(answer_search(searched(*FOUND), None))
    assert "no fresh seed confirms it yet" in found[""]
    assert found["Range:"] == (
        "The best trial lies inside the searched range of each; nearest to an end is its learning rate, 30% of the "
        "range away."
    )


@pytest.mark.parametrize(
    ("params", "text"),
    [
        (
            {"optimiser.lr": 9.5e-3},
            "Learning rate 0.00950 lies within a tenth of its range from the upper end, 0.0100,",
        ),
        ({"optimiser.lr": 1e-3}, "Learning rate 0.00100 is the lower end, 0.00100, as in 1 of the best 2 trials:"),
        ({"objective.temperature": "1.4"}, "Temperature 1.4 is the upper end, 1.40, as in 1 of the best 2 trials:"),
    ],
)
def test_an_optimum_near_a_bound_is_said(params: dict[str, Any], text: str) -> None:
    best = made_trial(1, 3.2)
    best["params"] = best["params"] | params
    assert said(answer_search(searched(FOUND[0], best), None))["Range:"].startswith(text)


def test_a_search_that_has_just_begun_counts_its_trials() -> None:
    assert said(answer_search(searched(), None)) == {"Trials:": "none of 4 has begun."}
