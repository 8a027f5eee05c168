"""S1, Table 1: does distillation with the paper's vanilla settings beat the same student trained on text alone?"""

import dataclasses

from paper.scales import SCALES

from pdstudy import LM, BesidePaper, Compare, Cost, Curves, Study, axis


def study(scale: str = "mini") -> Study:
    """Scales: `mini` and `paper`, or one of yours in scales.py."""
    s = SCALES[scale]
    matched = "LM, compute-matched"
    levels: dict[str, dict[str, object]] = {"LM": {"objective": LM()}, "KD": {"objective": s.kd()}}
    if s.controls:
        steps = s.compute_matched_steps(s.run(objective=s.kd()))
        data = dataclasses.replace(s.data, tokens=steps * s.tokens_per_step)
        levels[matched] = {"objective": LM(), "steps": steps, "data": data}
    return s.study(
        "s01",
        title="S1: vanilla distillation (Table 1)",
        about="LM and vanilla distillation at equal tokens, and LM at the compute of student and teacher inference.",
        grid=axis("loss", levels),
        baseline={"loss": "LM"},
        outputs=(
            Curves(lines="loss"),
            Compare(),
            Compare(metric="recalibrated", title="After recalibration"),
            *([Compare(against=matched, title="Distillation and LM at equal compute")] if s.controls else []),
            BesidePaper(axis="loss", table="1", pairs=(("LM", "LLM-LM"), ("KD", "LLM-KD"))),
            Cost(),
        ),
    )
