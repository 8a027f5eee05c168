"""The command `design`. Imports nothing heavy: `pdstudy.cli.main` builds its parser with this."""

from __future__ import annotations

import argparse

from pdstudy.cli.arguments import AddCommand, positive_integer, positive_number
from pdstudy.cli.progress import slow_work
from pdstudy.cli.tables import print_json
from pdstudy.cli.target import planned

USUAL_LAW = "E=2.47,A=21.65,B=115.9,alpha=.35,beta=.345"
"""Coefficients assumed where the user has none: of runs of 0.04M to 4M parameters on English, simulated for the design
of a study at that scale (N without embeddings, D in tokens, nats per token)."""

USUAL_STUDENT_LAW = "A=500,B=1e5,alpha=.321,beta=.637,gamma=.764,c0=2.549,k=2.244,f1=.09"
"""Coefficients of distilled students assumed where the user has none: exponents, c0, f1 and k = c1 f1 d1^(-1/f1) of
Busbridge et al. 2025, Table 6; A and B such that students of this size are better without a teacher after some millions
of tokens, which theirs would be from the start."""


def add(command: AddCommand) -> None:
    sub = command("design", _design, "what a study's runs will tell about a scaling law, or which to make next")
    sub.add_argument(
        "--law",
        metavar="NAME=VALUE,...",
        default=USUAL_LAW,
        help="the law that is assumed, by its coefficients: E, A, B, alpha, beta (Hoffmann), without beta (tied), or "
        f"with gamma; default: {USUAL_LAW}",
    )
    sub.add_argument(
        "--student-law",
        metavar="NAME=VALUE,...",
        default=USUAL_STUDENT_LAW,
        help="the law of distilled students that is assumed where the study declares a DistillationLaw: A, B, alpha, "
        f"beta, gamma, c0, k, f1 (Busbridge); default: {USUAL_STUDENT_LAW}",
    )
    sub.add_argument(
        "--noise",
        type=positive_number,
        default=0.003,
        metavar="SD",
        help="standard deviation of ln loss of one run (default: .003, 0.3 %%)",
    )
    sub.add_argument(
        "--draws", type=positive_integer, default=1000, metavar="N", help="simulated studies (default: 1000)"
    )
    sub.add_argument("--seed", type=int, default=0, help="seed of the simulated studies")
    sub.add_argument(
        "--target",
        action="append",
        default=[],
        metavar="loss:N=...,D=... | optimum:C=...",
        help="a quantity that the study is for: the loss at a size and tokens, or the best size and its loss at a "
        "budget of FLOPs, of LM runs; may be repeated (default: what a declared DistillationLaw tells, else held-out "
        "runs, else the optimum at four times the largest run)",
    )
    sub.add_argument(
        "--next",
        type=positive_number,
        metavar="FLOPS",
        help="the LM runs within this budget that would tell most about the targets, given those that are done",
    )


def _design(args: argparse.Namespace) -> int:
    plan, workspace = planned(args)
    with slow_work(f"designing {plan.study.name}"):
        from pdstudy.cli.students_design import declared_student_law, foretell_students
        from pdstudy.cli.students_tables import design_json, print_design
        from pdstudy.cli.study_design import foretell, suggest

        law = declared_student_law(plan)
        found: object
        if args.next is not None:
            found = suggest(plan, workspace, args)
        elif law is not None and not args.target:
            found = foretell_students(plan, workspace, law, args)
        else:
            found = foretell(plan, args)
    if args.json:
        print_json(design_json(found))
    else:
        print_design(found)
    return 0
