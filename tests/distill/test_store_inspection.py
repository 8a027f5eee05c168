"""What `pdstudy inspect` says of a real small store is what its distributions give, counted another way."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pdstudy.cli.inspect import store_figures, store_text
from pdstudy.cli.main import main
from pdstudy.config.logits import Coverage, StoreSpec
from pdstudy.config.truncation import TopPK
from pdstudy.core.errors import ConfigError
from pdstudy.corpus import TokenCorpus
from pdstudy.distill.store import inspection as inspect
from pdstudy.distill.store.inspection import QUANTILES, examine
from pdstudy.distill.store.shard import entropy_bins
from pdstudy.distill.store.store import open_store
from pdstudy.distill.teacher.capture import capture
from pdstudy.workspace.store_index import merged_ranges
from tests.distill.conftest import CONTEXT, SEQUENCES


@pytest.mark.parametrize("encoding", [pytest.param("exact", marks=pytest.mark.integration), "small"])
def test_the_statistics_are_those_of_the_store(
    tmp_path: Path, encoding: str, spec: StoreSpec, corpus: TokenCorpus, teacher: Path
) -> None:
    coverage = Coverage(p=0.98, k=40, draws=6, encoding=encoding)  # type: ignore[arg-type]
    for part in (range(3, 20), range(20, 40)):
        capture(spec, coverage, part, corpus=corpus, teacher=teacher, directory=tmp_path / "store")
    found = examine(tmp_path / "store")
    assert found["tokens"] == found["positions_read"] == len(SEQUENCES) * CONTEXT
    assert found["sequences"] == [[3, 20], [20, 40]]
    assert found["bytes"] == sum(path.stat().st_size for path in (tmp_path / "store").glob("*.safetensors"))
    parts = found["bytes_per_token_by_part"]
    assert sum(parts.values()) == pytest.approx(found["bytes_per_token"])
    assert found["bytes_per_entry"] == pytest.approx(found["bytes_per_token"] / found["kept_per_token"])
    assert min(parts.values()) > 0
    assert {cut["p"] for cut in found["cuts"]} == {0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98}
    assert {cut["k"] for cut in found["cuts"]} == {1, 3, 5, 10, 20, 40}
    sequences = np.array(SEQUENCES)
    for cut in found["cuts"]:
        wanted = TopPK(p=cut["p"], k=cut["k"])
        reader = open_store(tmp_path / "store", spec=spec, corpus=corpus, wanted=wanted, sequences=SEQUENCES)
        signal = reader.signal(sequences, wanted)
        kept = signal.log_probs > -np.inf
        assert cut["kept"] == pytest.approx(kept.sum(1).double().mean().item())
        assert cut["mass"] == pytest.approx(signal.log_probs.double().exp().sum(1).mean().item(), rel=1e-6)
    whole = open_store(tmp_path / "store", spec=spec, corpus=corpus, wanted=wanted, sequences=SEQUENCES)
    signal = whole.signal(sequences, TopPK(p=0.98, k=40))
    for q in QUANTILES:
        assert found["entropy"][f"{q:g}"] == pytest.approx(signal.entropy.double().quantile(q).item(), abs=0.05)
    assert found["teacher_loss"] == pytest.approx(-signal.gold.double().mean().item(), abs=1e-3)
    assert 1 < found["distinct_draws"] <= 6
    coding = found["coding"]
    assert set(coding["other_support"]) == {"0.5", "0.7", "0.9", "0.95"}
    if encoding == "exact":
        assert coding["mean_kl"] == coding["declared_kl"] == max(coding["other_support"].values()) == 0
    else:
        assert 0 < coding["mean_kl"] < coding["declared_kl"]
        assert sum(coding["other_support"].values()) > 0
    assert f"{found['bytes_per_entry']:.2f} per entry" in store_text(found)


def test_of_a_large_store_sequences_evenly_spread_are_read(
    tmp_path: Path, spec: StoreSpec, coverage: Coverage, corpus: TokenCorpus, teacher: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    for part in (range(3, 8), range(8, 16), range(16, 20)):
        capture(spec, coverage, part, corpus=corpus, teacher=teacher, directory=tmp_path)
    monkeypatch.setattr(inspect, "POSITIONS", 5 * CONTEXT)
    found = examine(tmp_path)
    assert found["positions_read"] == 5 * CONTEXT
    cut = TopPK(p=0.9, k=20)
    reader = open_store(tmp_path, spec=spec, corpus=corpus, wanted=cut, sequences=range(3, 20))
    want = (reader.signal(np.arange(3, 20, 4), cut).log_probs > -np.inf).sum(1).double().mean().item()
    (kept,) = (each["kept"] for each in found["cuts"] if (each["p"], each["k"]) == (0.9, 20))
    assert kept == pytest.approx(want)


def test_coding_changes_as_many_supports_as_it_says(
    tmp_path: Path, spec: StoreSpec, corpus: TokenCorpus, teacher: Path
) -> None:
    kept = {}
    for encoding in ("exact", "small"):
        coverage = Coverage(p=1.0, k=40, encoding=encoding)  # type: ignore[arg-type]
        capture(spec, coverage, range(20), corpus=corpus, teacher=teacher, directory=tmp_path / encoding)
        reader = open_store(
            tmp_path / encoding, spec=spec, corpus=corpus, wanted=TopPK(p=0.9, k=40), sequences=range(20)
        )
        kept[encoding] = (reader.signal(np.arange(20), TopPK(p=0.9, k=40)).log_probs > -np.inf).sum(1)
    share = (kept["exact"] != kept["small"]).double().mean().item()
    assert examine(tmp_path / "small")["coding"]["other_support"]["0.9"] == pytest.approx(share)
    assert share > 0


@pytest.mark.integration
def test_the_command_prints_draws_and_refuses(tmp_path: Path, store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def call(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["inspect", *words])
        return int(ended.value.code or 0), *capsys.readouterr()

    code, text, _ = call(str(store), "--figures", str(tmp_path))
    assert code == 0
    assert "kept entries per token (mass)" in text
    assert {path.suffix for path in tmp_path.iterdir()} == {".pdf", ".svg", ".png", ".csv"}
    assert len(list(tmp_path.glob("*-store-kept-?.csv"))) == 2
    code, text, _ = call(str(store), "--json")
    (found,) = json.loads(text)
    assert found == json.loads(json.dumps(examine(store)))
    code, _, error = call(str(tmp_path))
    assert code == 2
    assert "it has no manifest.json; give a store's folder, or a study" in error


def test_figures_are_of_the_two_largest_limits(store: Path) -> None:
    found = examine(store)
    assert found["store"] == f"{store.parent.name}/store"  # two teachers' stores may be of one coverage
    plots = store_figures(found)
    p, k = (plots[f"{store.parent.name}-store-kept-{name}"].data for name in ("p", "k"))
    assert sorted(p["k"].unique()) == [20, 40]
    assert sorted(k["p"].unique()) == [0.95, 0.98]
    for _, line in p.groupby("k"):
        assert line.sort_values("p")["kept"].is_monotonic_increasing


def test_entropies_beyond_the_histogram_count_in_its_last_bin() -> None:
    assert entropy_bins(np.array([0, 1 / 64, 15.99, 16, 40], np.float32)).tolist() == [0, 1, 1023, 1023, 1023]


def test_an_empty_store_is_refused(tmp_path: Path, store: Path) -> None:
    (tmp_path / "manifest.json").write_text((store / "manifest.json").read_text())
    with pytest.raises(ConfigError, match="no complete shard yet"):
        examine(tmp_path)


def test_a_store_is_read_with_one_thread_whatever_the_process_has(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads on tensors of a sequence took 424 s where one takes 9."""
    used: list[int] = []
    cut = inspect._kept_of

    def noting(log_probs: object, wanted: list[tuple[float, int | None]]) -> list[tuple[float, float]]:
        used.append(torch.get_num_threads())
        return cut(log_probs, wanted)

    monkeypatch.setattr(inspect, "_kept_of", noting)
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        steps: list[float] = []
        examine(store, lambda step, share: steps.append(share))
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)
    assert set(used) == {1}
    assert steps[0] == 0
    assert all(0 <= share < 1 for share in steps)


def test_ranges_that_touch_or_overlap_are_one() -> None:
    assert merged_ranges([(0, 100), (10, 20)]) == [range(100)]
    assert merged_ranges([(20, 30), (0, 10), (10, 20)]) == [range(30)]
    assert merged_ranges([(0, 10), (11, 20), (5, 8), (19, 25)]) == [range(10), range(11, 25)]
