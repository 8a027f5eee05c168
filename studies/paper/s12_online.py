"""S12, Table 6: logits that a teacher writes while it is itself being trained."""

import dataclasses

from paper.scales import SCALES

from pdstudy import LM, Compare, Cost, Curves, Online, PaperTable, Slice, Study, TopPK, axis


def study(scale: str = "mini") -> Study:
    """Scales: `mini` and `paper`, or one of yours in scales.py."""
    s = SCALES[scale]
    teacher = s.online_teacher
    windows = {
        "early": Slice(start=teacher.data.start, tokens=s.tokens),
        "late": Slice(start=teacher.data.start + teacher.num_tokens - s.tokens, tokens=s.tokens),
    }
    online = s.kd(teacher=Online(run=teacher))
    sources = {
        "LM": LM(),
        "offline": s.kd(),
        "online": online,
        "online*": dataclasses.replace(online, alpha=0.1, truncation=TopPK(p=0.95, k=50)),
    }
    paper = {("early", "LM"), ("early", "online"), ("late", "online"), ("late", "online*")}
    pairs = (
        ("early LM", "LLM-LM"),
        ("late LM", "LLM-LM"),
        ("early online", "LLM-Online-100B-L"),
        ("late online", "LLM-Online-100B"),
        ("late online*", "LLM-Online-100B*"),
    )
    grid = axis("window", windows, field="data") * axis("source", sources, field="objective")
    return s.study(
        "s12",
        title="S12: online logits (Table 6)",
        about="Students on the first and on the last text of a teacher's own training, learning from what the teacher "
        "said of it just before it learned it. Controls on the same text: LM, and the finished teacher of S1. "
        "online*: alpha 0.1, top-0.95-50.",
        grid=grid.where(lambda arm: s.controls or (arm["window"], arm["source"]) in paper),
        baseline={"source": "LM"},
        outputs=(Compare(), PaperTable(table="6", pairs=pairs), Curves(lines="source", panels="window"), Cost()),
    )
