"""Comparisons: the interval is the textbook one, and verdicts can't claim more than the seeds carry."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pdstudy.analysis.compare.comparison import Verdict
from pdstudy.analysis.compare.family import adjust, holm
from pdstudy.analysis.compare.seeds import bootstrap_seeds, compare
from pdstudy.analysis.compare.uncertainty import Uncertainty
from pdstudy.analysis.errors import DataError, TooFewRuns
from pdstudy.analysis.tables.builders import comparison_table
from pdstudy.analysis.tables.table import TableCell
from tests.analysis.coverage_by_design import DESIGNS, TEXT_DESIGNS, Design, p_values, simulate, simulate_text


def runs(**arms: list[float]) -> pd.DataFrame:
    return pd.DataFrame([{"arm": a, "seed": s, "loss": v} for a, values in arms.items() for s, v in enumerate(values)])


def test_one_arm_is_the_paired_t_interval() -> None:
    lm, kd = [4.50, 4.61, 4.43, 4.57], [4.31, 4.40, 4.28, 4.35]
    effect = compare(runs(lm=lm, kd=kd), metric="loss", baseline="lm").effects[0]
    ours = stats.ttest_rel(kd, lm)
    low, high = ours.confidence_interval(0.95)
    assert effect.low == pytest.approx(low, abs=1e-12)
    assert effect.high == pytest.approx(high, abs=1e-12)
    assert effect.p == pytest.approx(ours.pvalue, rel=1e-9)
    assert effect.dof == 3
    assert effect.verdict is Verdict.BETTER


def test_each_arm_has_its_own_spread_and_p_values_are_adjusted() -> None:
    table = runs(lm=[5.0, 5.1, 5.3], a=[4.9, 5.05, 5.15], b=[5.02, 5.08, 5.33])
    effects = {e.arm: e for e in compare(table, metric="loss", baseline="lm").effects}
    raw = {a: stats.ttest_rel(table[table.arm == a].loss, table[table.arm == "lm"].loss) for a in "ab"}
    for arm, found in raw.items():
        assert (effects[arm].low, effects[arm].high) == pytest.approx(tuple(found.confidence_interval(0.95)))
        assert effects[arm].dof == 2
    assert effects["a"].p == pytest.approx(2 * raw["a"].pvalue)  # Holm: the smallest of two is doubled
    assert effects["b"].p == pytest.approx(max(raw["b"].pvalue, 2 * raw["a"].pvalue))
    outer = raw["a"].confidence_interval(0.975)  # no claim at the first step: that is the level of both
    assert (effects["a"].family_low, effects["a"].family_high) == pytest.approx(tuple(outer))
    assert effects["b"].verdict is Verdict.WITHIN_NOISE


@pytest.mark.parametrize("with_text", [False, True])
def test_a_difference_is_claimed_where_the_outer_interval_excludes_zero_and_nowhere_else(with_text: bool) -> None:
    rng = np.random.default_rng(5)
    claims = 0
    for _ in range(60):
        means = rng.normal(0, 0.1, 6)
        table = runs(**{f"a{i}": list(m + rng.normal(0, 0.02, 3)) for i, m in enumerate(means)})
        table["text"] = list(table.loss.to_numpy()[:, None] + rng.normal(0, 0.1, (len(table), 40)))
        text = "text" if with_text else None
        for e in compare(table, metric="loss", baseline="a0", text=text).effects:
            claimed = e.verdict in (Verdict.BETTER, Verdict.WORSE)
            assert claimed == (e.family_low > 0 or e.family_high < 0) == (e.p < 0.05)
            assert e.family_low <= e.low < e.high <= e.family_high
            claims += claimed
    assert 20 < claims < 280


def test_a_page_says_one_thing_of_one_pair_and_counts_it_once() -> None:
    table = runs(lm=[5.0, 5.1, 5.3], a=[4.9, 5.05, 5.15], b=[5.02, 5.08, 5.33], c=[5.02, 5.08, 5.33])
    by_lm, by_a = adjust([compare(table, metric="loss", baseline=b) for b in ("lm", "a")])
    assert by_lm.family == by_a.family == 3  # a-lm, b-lm, a-b: c is the computation of b
    (one,) = (e for e in by_lm.effects if e.arm == "a")
    (other,) = (e for e in by_a.effects if e.arm == "lm")
    assert (one.p, one.low, one.family_low) == (other.p, -other.high, -other.family_high)
    assert {e.p for e in by_lm.effects if e.arm in "bc"} == {by_lm.effects[1].p}
    alone = compare(table[table.arm != "c"], metric="loss", baseline="lm")
    assert one.p > alone.effects[0].p


def test_both_parts_of_the_uncertainty_are_those_of_a_two_way_table() -> None:
    rng = np.random.default_rng(8)
    seeds, blocks = 4, 32
    texts = {a: rng.normal(5, 0.1, (seeds, 1)) + rng.normal(0, 0.2, (seeds, 8 * blocks)) for a in ("lm", "kd")}
    texts["kd"] = texts["kd"] + np.repeat(rng.normal(0, 0.3, blocks), 8)
    table = runs(**{a: list(t.mean(axis=1)) for a, t in texts.items()})
    table["text"] = [row for t in texts.values() for row in t]
    (effect,) = compare(table, metric="loss", baseline="lm", text="text").effects
    d = (texts["kd"] - texts["lm"]).reshape(seeds, blocks, 8).mean(axis=2)
    frame = pd.DataFrame({"d": d.ravel(), "s": np.repeat(range(seeds), blocks), "b": list(range(blocks)) * seeds})
    left = frame.d - frame.groupby("s").d.transform("mean") - frame.groupby("b").d.transform("mean") + frame.d.mean()
    rest = (left**2).sum() / ((seeds - 1) * (blocks - 1))
    between_blocks = seeds * frame.groupby("b").d.mean().var()
    between_seeds = blocks * frame.groupby("s").d.mean().var()
    assert effect.uncertainty is not None
    assert effect.uncertainty.seeds == pytest.approx(np.sqrt(between_seeds / (seeds * blocks)))
    assert effect.uncertainty.text == pytest.approx(np.sqrt((between_blocks - rest) / (seeds * blocks)))
    assert effect.uncertainty.text_dof == 31
    half = np.hypot(stats.t.ppf(0.975, 3) * effect.uncertainty.seeds, stats.t.ppf(0.975, 31) * effect.uncertainty.text)
    assert effect.high - effect.difference == pytest.approx(half)
    without = compare(table.assign(text=None), metric="loss", baseline="lm", text="text")
    assert "over seeds alone" in without.caption()
    assert without.effects == compare(table, metric="loss", baseline="lm").effects


def test_a_p_value_is_the_level_whose_interval_ends_at_zero() -> None:
    both = Uncertainty(0.01, 2, 0.02, 31)
    assert both.reach(both.p(0.05)) == pytest.approx(0.05)
    assert both.p(0.0) == 1.0
    assert Uncertainty(0.01, 2).p(0.05) == pytest.approx(2 * stats.t.sf(5, 2))
    assert Uncertainty(0.01, 2).p_beyond(0.03, 0.02) == pytest.approx(1 - stats.t.sf(1, 2))


@pytest.mark.slow
def test_coverage_and_false_verdicts_by_design(capsys: pytest.CaptureFixture[str]) -> None:
    """Every design's coverage lies within .94 to .97 and its false verdicts at 5 % or less; printed. The bounds allow
    three standard errors of a simulation."""
    lines, simulations = [], 10_000
    slack = 3 * np.sqrt(0.05 * 0.95 / simulations)
    for design in DESIGNS:
        covered, worst, wrong = simulate(design, "own", simulations)
        lines.append(f"{design}: coverage {covered:.3f}, worst arm {worst:.3f}, false verdicts {wrong:.3f}")
        assert 0.94 <= covered <= 0.97, lines[-1]
        assert worst >= 0.95 - 1.3 * slack, lines[-1]
        assert wrong <= 0.05 + slack, lines[-1]
    for text in TEXT_DESIGNS:
        covered, alone = simulate_text(text, 600)
        lines.append(f"{text}: coverage {covered:.3f}, over seeds alone {alone:.3f}")
        assert covered >= 0.92, lines[-1]
    with capsys.disabled():
        print("", *lines, sep="\n")


def test_what_is_simulated_is_what_compare_does() -> None:
    base, arms = Design(5, 3, "baseline 3x", 0.5).draw(20, np.random.default_rng(2))
    p = p_values("own", base, arms)
    for one, many, expected in zip(base, arms, p, strict=True):
        found = compare(runs(lm=list(one), **{f"a{i}": list(a) for i, a in enumerate(many)}), metric="loss",
                        baseline="lm")  # fmt: skip
        assert [e.uncertainty.p(e.difference) for e in found.effects if e.uncertainty] == pytest.approx(list(expected))


def test_equal_runs_are_the_same_computation_and_do_not_narrow_the_others() -> None:
    lm = [5.0, 5.1, 5.3]
    with_copy = compare(runs(lm=lm, kd=[4.9, 5.2, 5.1], copy=lm), metric="loss", baseline="lm").effects
    without = compare(runs(lm=lm, kd=[4.9, 5.2, 5.1]), metric="loss", baseline="lm").effects
    by_arm = {e.arm: e for e in with_copy}
    assert by_arm["copy"].verdict is Verdict.SAME
    assert np.isnan(by_arm["copy"].low)
    assert (by_arm["kd"].low, by_arm["kd"].high) == (without[0].low, without[0].high)


def test_one_seed_has_no_interval_and_no_verdict() -> None:
    effect = compare(runs(lm=[5.0], kd=[4.0]), metric="loss", baseline="lm").effects[0]
    assert effect.verdict is Verdict.NO_SPREAD
    assert np.isnan(effect.low)
    assert np.isnan(effect.p)


def test_shares_of_few_items_that_agree_over_seeds_are_no_proof() -> None:
    """Two seeds whose accuracies rise by one item of eight each gave an interval of no width, and p = 0."""
    table = runs(lm=[0.3, 0.6], kd=[0.425, 0.725])
    (effect,) = compare(table, metric="loss", baseline="lm", lower_is_better=False).effects
    assert effect.difference == pytest.approx(0.125)
    assert effect.verdict is Verdict.NO_SPREAD
    assert np.isnan([effect.low, effect.high, effect.p]).all()


def test_equivalence_needs_an_interval_within_the_margin() -> None:
    table = runs(lm=[5.0, 5.1, 5.3, 5.2], kd=[5.001, 5.099, 5.302, 5.2])
    assert compare(table, metric="loss", baseline="lm", margin=0.01).effects[0].verdict is Verdict.EQUIVALENT
    assert compare(table, metric="loss", baseline="lm", margin=0.0015).effects[0].verdict is Verdict.WITHIN_NOISE


def test_accuracy_up_is_better_and_relative_is_in_per_cent() -> None:
    table = runs(lm=[0.40, 0.41, 0.39], kd=[0.50, 0.51, 0.50])
    effect = compare(table, metric="loss", baseline="lm", lower_is_better=False, relative=True).effects[0]
    assert effect.verdict is Verdict.BETTER
    assert effect.difference == pytest.approx(100 * (0.31 / 3) / 0.4)


def test_matched_controls_and_strata() -> None:
    table = pd.concat(
        [runs(lm=[5.0, 5.2], wsd=[4.9, 5.0], kd=[4.5, 4.6], kdw=[4.4, 4.6]).assign(size=s) for s in (1, 2)]
    )
    found = compare(table, metric="loss", baseline={"kd": "lm", "kdw": "wsd"}, within=["size"])
    assert [(e.arm, e.baseline, e.stratum) for e in found.effects] == [
        ("kd", "lm", (1,)), ("kdw", "wsd", (1,)), ("kd", "lm", (2,)), ("kdw", "wsd", (2,)),
    ]  # fmt: skip


@pytest.mark.integration
def test_false_positives_are_as_rare_as_promised() -> None:
    """Three arms without effect, three seeds: some verdict of a difference in at most 5 % of studies (Holm)."""
    rng = np.random.default_rng(3)
    wrong = 0
    for _ in range(150):
        noise = rng.normal(0, 0.02, (4, 3)) + rng.normal(0, 0.1, 3)
        table = runs(**{name: list(v) for name, v in zip(("lm", "a", "b", "c"), 5 + noise)})
        verdicts = {e.verdict for e in compare(table, metric="loss", baseline="lm").effects}
        wrong += bool(verdicts & {Verdict.BETTER, Verdict.WORSE})
    assert wrong / 150 < 0.10  # three standard errors above 5 %


@pytest.mark.parametrize(
    ("table", "kwargs", "message"),
    [
        (runs(lm=[5.0], kd=[4.0]), {"baseline": "base"}, "no runs of arm 'base'; there are lm, kd"),
        (runs(lm=[5.0], kd=[4.0]), {"baseline": "lm", "metric": "los"}, "no column 'los'.*did you mean 'loss'"),
        (runs(lm=[5.0], kd=[float("nan")]), {"baseline": "lm"}, "NaN or infinite in row 1"),
        (pd.concat([runs(lm=[5.0]), runs(lm=[5.1])]), {"baseline": "lm"}, "more than one run"),
        (runs(lm=[5.0, 5.1]), {"baseline": "lm"}, "nothing to compare"),
    ],
)
def test_bad_tables_are_refused(table: pd.DataFrame, kwargs: dict[str, str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        compare(table, **{"metric": "loss", **kwargs})  # type: ignore[arg-type]


def test_no_shared_seed_is_refused() -> None:
    table = runs(lm=[5.0, 5.1], kd=[4.0, 4.1])
    table.loc[table.arm == "kd", "seed"] += 10
    with pytest.raises(DataError, match="share no seed"):
        compare(table, metric="loss", baseline="lm")


def test_bootstrap_over_seeds_is_refused_below_eight() -> None:
    with pytest.raises(TooFewRuns, match="7 seeds"):
        bootstrap_seeds([0.1] * 7)
    low, high = bootstrap_seeds([0.1, 0.2, 0.15, 0.12, 0.18, 0.11, 0.19, 0.15])
    assert 0.1 < low < 0.15 < high < 0.2


def test_strata_and_arms_keep_the_order_of_the_table() -> None:
    """Not the alphabet's, in which k = 100 stood before k = 50."""
    rows = [
        {"student": student, "arm": arm, "seed": seed, "loss": 4.0 + seed + 0.1 * i * (seed + 1)}
        for student in ("w96", "w128")
        for i, arm in enumerate(("LM", "10", "50", "100"))
        for seed in (0, 1)
    ]
    found = compare(pd.DataFrame(rows), metric="loss", baseline="LM", within=("student",)).to_frame()
    assert list(found["arm"]) == ["10", "50", "100"] * 2
    assert list(found["student"]) == ["w96"] * 3 + ["w128"] * 3


def test_a_baseline_is_found_whatever_its_type_has_become() -> None:
    rows = [(a, s, 4.0 + 10 * a + 0.01 * s * (1 + a)) for a in (0.001, 0.01, 8.0) for s in (0, 1, 2)]
    table = pd.DataFrame(rows, columns=["arm", "seed", "loss"])
    for baseline in (0.001, "0.001", "1e-3"):
        found = compare(table, metric="loss", baseline=baseline).effects
        assert [(e.arm, e.baseline) for e in found] == [("0.01", "0.001"), ("8", "0.001")]
    found = compare(table, metric="loss", baseline={0.01: 0.001}).effects
    assert [(e.arm, e.baseline) for e in found] == [("0.01", "0.001")]
    named = table.assign(arm=table["arm"].map({0.001: None, 0.01: "x", 8.0: "y"}))
    with pytest.raises(DataError, match="column 'arm' has no label in rows 0, 1, 2; where the label is the text None"):
        compare(named, metric="loss", baseline="x")
    with pytest.raises(DataError, match="column 'size' has no label in row 4"):
        compare(table.assign(size=[1.0] * 4 + [np.nan] * 1 + [1.0] * 4), metric="loss", baseline=8, within=["size"])


def test_holm_never_falls() -> None:
    assert holm({"a": 0.01, "b": 0.02, "c": 0.021, "d": 0.9}) == pytest.approx(
        {"a": 0.04, "b": 0.06, "c": 0.06, "d": 0.9}
    )


def test_equivalence_is_two_one_sided_tests_at_five_per_cent() -> None:
    """A margin between the ends of the 90 % and the 95 % interval."""
    lm = np.array([5.0, 5.1, 5.3, 5.2])
    d = np.array([0.01, -0.01, 0.02, 0.0])
    error = d.std(ddof=1) / 2
    ends = [abs(d.mean()) + stats.t.ppf(q, 3) * error for q in (0.95, 0.975)]
    for share, verdict in ((1.0, Verdict.EQUIVALENT), (-1.0, Verdict.WITHIN_NOISE)):
        margin = ends[0] + share * 0.1 * (ends[1] - ends[0])
        effect = compare(runs(lm=list(lm), kd=list(lm + d)), metric="loss", baseline="lm", margin=margin).effects[0]
        assert effect.verdict is verdict


@pytest.mark.integration
def test_equivalence_is_adjusted_for_the_number_of_arms() -> None:
    """Ten arms whose true difference is the margin itself: one in four data sets called some arm equivalent."""
    rng = np.random.default_rng(7)
    wrong = 0
    for _ in range(200):
        base = 5 + rng.normal(0, 0.1, 5)
        arms = {f"a{i}": list(base + 0.05 + rng.normal(0, 0.037, 5)) for i in range(10)}  # margin: 3 errors
        found = compare(runs(lm=list(base), **arms), metric="loss", baseline="lm", margin=0.05).effects
        wrong += any(e.verdict is Verdict.EQUIVALENT for e in found)
    assert wrong / 200 < 0.10


def test_best_of_a_stratum_is_bold_and_the_direction_counts() -> None:
    table = runs(lm=[0.40, 0.41, 0.42], a=[0.50, 0.52, 0.51], b=[0.45, 0.46, 0.48])
    for lower, bold in ((False, ["a"]), (True, ["lm"])):
        made = comparison_table(compare(table, metric="loss", baseline="lm", lower_is_better=lower))
        place = made.columns.index("loss")
        assert [r[0] for r in made.rows if isinstance(c := r[place], TableCell) and c.best] == bold


def test_a_relative_difference_keeps_its_sign_where_the_baseline_is_negative() -> None:
    """Log likelihoods, say: per cent of the baseline's size."""
    table = runs(lm=[-2.0, -2.2, -2.1], kd=[-1.8, -1.9, -2.0])
    (effect,) = compare(table, metric="loss", baseline="lm", lower_is_better=False, relative=True).effects
    assert effect.difference == pytest.approx(100 * 0.2 / 2.1)
    assert effect.low < effect.difference < effect.high


def test_runs_without_a_baseline_of_their_seed_are_left_out_and_named() -> None:
    found = compare(runs(lm=[5.0, 5.1, 5.3], kd=[4.9, 5.05, 5.15, 1.0]), metric="loss", baseline="lm")
    assert found.unpaired == ("kd seed 3",)
    assert found.warnings == ("left out for want of a baseline of equal seed: kd seed 3",)
    assert [e.difference for e in found.effects] == pytest.approx([-0.1])
