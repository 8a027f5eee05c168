"""Options of `pdstudy analyse`: its commands and what each takes."""

from __future__ import annotations

import argparse
from pathlib import Path

from pdstudy.analysis.command_input import AUTO, LAWS
from pdstudy.analysis.data.points import DUPLICATES
from pdstudy.analysis.fit.fit import DELTA
from pdstudy.analysis.fit.joint_fit import RESAMPLES
from pdstudy.analysis.laws import laws_of
from pdstudy.analysis.scaling.budget_minimum import Method

EXAMPLES = """a law of runs, its intervals, and a prediction with the range over laws:
  analyse fit runs.csv --law hoffmann --n params --d tokens --loss loss --bootstrap 4000 --predict N=7e9,D=1e12
the law that predicts held-out runs best, with how sure that is; tokens from compute, sizes in billions:
  analyse fit runs.csv --law auto --n N --d D --loss loss --units N=1e9 --derive 'D=C/(6*N)'
a law of one's own, on the best learning rate of each size and number of tokens, outliers by a stated rule:
  analyse fit sweep.csv --law 'E + A*N^-alpha + B*D^-beta' --loss loss --lowest loss --per N,D --outliers 5
published coefficients judged on a table:
  analyse fit runs.csv --law tied --n N --d D --loss loss --fix E=1.87,A=521,B=1488,alpha=0.353
students with runs without a teacher in one table:
  analyse fit all.csv --law distillation --n N --d D --col LT=teacher --loss loss --supervised 'alpha == 0'"""


def add_commands(parser: argparse.ArgumentParser) -> None:
    parser.epilog, parser.formatter_class = EXAMPLES, argparse.RawDescriptionHelpFormatter
    commands = parser.add_subparsers(dest="analysis", required=True, metavar="COMMAND")
    for name, text in (("fit", "fit a law to runs"), ("allocate", "fit a law and spend budgets by it")):
        command = commands.add_parser(name, help=text)
        _add_common_options(command)
        command.add_argument(
            "--law",
            required=True,
            metavar="LAW",
            help=f"law to fit: {', '.join(LAWS)}; one's own sum of powers, 'E + A*N^-alpha + B*D^-beta'; or {AUTO}, "
            "the law of these quantities that predicts held-out runs best",
        )
        command.add_argument("--n", metavar="COL", help="column of parameters N")
        command.add_argument("--d", metavar="COL", help="column of tokens D")
        command.add_argument(
            "--col", metavar="NAME=COL", action="append", default=[], help="column of another quantity"
        )
        command.add_argument("--loss", metavar="COL", required=True, help="column of the loss")
        command.add_argument("--weights", metavar="COL", help="column of weights")
        command.add_argument(
            "--duplicates",
            choices=DUPLICATES,
            default="refuse",
            help="equal rows: refuse them, drop the copies, or keep them as runs of their own",
        )
        command.add_argument("--cluster", metavar="COL", help="rows of equal value belong together (run, seed)")
        command.add_argument(
            "--fix",
            metavar="NAME=VALUE",
            action="append",
            default=[],
            help="hold a parameter; all of them: judge a published law",
        )
        command.add_argument("--tie", metavar="A,B", action="append", default=[], help="hold parameters equal")
        command.add_argument(
            "--delta", type=float, default=DELTA, help="Huber threshold on log residuals (default 1e-3)"
        )
        command.add_argument(
            "--outliers",
            metavar="K",
            type=float,
            help="fit again without runs whose |log residual| is above K robust standard deviations (5 is usual)",
        )
        command.add_argument(
            "--supervised",
            metavar="EXPR",
            help="rows without a teacher: a gamma law fitted to them gives LM, and is resampled with the fit",
        )
        command.add_argument(
            "--teacher-error", metavar="S", type=float, default=0.0, help="standard error of ln LT, for intervals"
        )
        command.add_argument(
            "--bootstrap", metavar="N", type=int, default=0, help="resamples for intervals (4000 is usual)"
        )
        command.add_argument("--seed", type=int, default=0, help="seed of the bootstrap")
        if name == "fit":
            command.add_argument("--holdout", metavar="EXPR", help="also fit without these rows and predict them")
            command.add_argument(
                "--predict", metavar="N=...,D=...", action="append", default=[], help="predict one loss"
            )
        else:
            command.add_argument("--budget", type=float, nargs="+", required=True, help="FLOPs")
            command.add_argument("--flops", metavar="COL", help="column of training FLOPs (default: 6 N D)")
    iso = commands.add_parser("isoflop", help="best size per budget and its growth")
    _add_common_options(iso)
    iso.add_argument("--n", metavar="COL", required=True, help="column of parameters N")
    iso.add_argument("--loss", metavar="COL", required=True, help="column of the loss")
    iso.add_argument("--c", metavar="COL", required=True, help="column of the budget in FLOPs")
    iso.add_argument("--method", choices=[m.value for m in Method], default=Method.SHARED.value)
    iso.add_argument("--d", metavar="COL", help="column of tokens D (default: C / (6 N))")
    iso.add_argument(
        "--noise", metavar="S", help="standard deviation of ln loss, or by loss 3.5:0.002,5:0.01 (default: estimated)"
    )
    iso.add_argument("--seed", type=int, default=0, help="seed of the noise")
    distil = commands.add_parser(
        "distil", help="students against their teachers' loss: crossovers, best teachers, budgets"
    )
    _add_common_options(distil)
    distil.add_argument("--n", metavar="COL", required=True, help="column of parameters N")
    distil.add_argument("--d", metavar="COL", required=True, help="column of tokens D")
    distil.add_argument("--teacher-loss", metavar="COL", required=True, help="column of the teacher's loss")
    distil.add_argument("--loss", metavar="COL", required=True, help="column of the loss")
    distil.add_argument(
        "--supervised", metavar="EXPR", required=True, help="rows without a teacher: a law fitted to them gives LM"
    )
    distil.add_argument(
        "--law",
        choices=[*(law.name for law in laws_of(("N", "D"))), AUTO],
        default="hoffmann",
        help="law of the rows without a teacher",
    )
    distil.add_argument("--holdout", metavar="EXPR", help="leave these rows out of both laws and predict those taught")
    distil.add_argument("--budget", type=float, nargs="+", default=[], help="FLOPs to spend, distilled or trained")
    distil.add_argument("--c", metavar="COL", help="column of training FLOPs (default: 6 N D)")
    distil.add_argument("--bootstrap", metavar="N", type=int, default=RESAMPLES, help="resamples for intervals")
    distil.add_argument("--seed", type=int, default=0, help="seed of the resamples")
    transfer = commands.add_parser("transfer", help="best learning rate against width")
    _add_common_options(transfer)
    transfer.add_argument("--rate", metavar="COL", required=True, help="column of the rate")
    transfer.add_argument("--width", metavar="COL", required=True, help="column of the width")
    transfer.add_argument(
        "--loss", metavar="COL", required=True, help="column of the loss; rows of one place are seeds"
    )
    transfer.add_argument("--line", metavar="COL", help="column whose values are compared, such as the parametrisation")
    transfer.add_argument("--seed", type=int, default=0, help="seed of the intervals")
    optima = commands.add_parser("exponents", help="the power law through a table of optima")
    _add_common_options(optima)
    optima.add_argument("--c", metavar="COL", required=True, help="column of the budget in FLOPs")
    optima.add_argument("--optimum", metavar="COL", required=True, help="column of the best size, tokens or setting")
    optima.add_argument("--spread", metavar="COL", help="column of the standard deviation of ln of the optimum")
    optima.add_argument("--seed", type=int, default=0, help="seed of the interval")
    pair = commands.add_parser("compare", help="arms against a baseline, paired by seed")
    _add_common_options(pair)
    pair.add_argument("--metric", metavar="COL", required=True)
    pair.add_argument("--baseline", metavar="ARM", required=True)
    pair.add_argument("--arm", metavar="COL", default="arm")
    pair.add_argument("--seed", metavar="COL", default="seed")
    pair.add_argument("--within", metavar="COL", action="append", default=[], help="compare within each value of it")
    pair.add_argument("--higher-is-better", action="store_true")
    pair.add_argument("--relative", action="store_true", help="differences in per cent of the baseline")
    pair.add_argument("--margin", type=float, help="half-width of the region that counts as equivalent")


def _add_common_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("data", metavar="DATA.csv", type=Path, help="CSV, TSV, semicolons or JSON lines (.jsonl)")
    command.add_argument("--where", metavar="EXPR", help="keep rows: 'loss < 3.4 and `seen tokens` > 1e9'")
    command.add_argument(
        "--units",
        metavar="COL=FACTOR",
        action="append",
        default=[],
        help="multiply a column: N=1e9 where it holds billions",
    )
    command.add_argument(
        "--derive", metavar="COL=EXPR", action="append", default=[], help="a column of others: 'D=C/(6*N)', 'R=1/(1-S)'"
    )
    command.add_argument("--lowest", metavar="COL", help="keep the row of lowest COL of each group of --per")
    command.add_argument("--per", metavar="COL,COL", help="columns whose equal values make a group of --lowest")
    command.add_argument("--json", action="store_true", help="print JSON instead of text")
    command.add_argument("--figures", metavar="DIR", type=Path, help="write figures and tables here")
