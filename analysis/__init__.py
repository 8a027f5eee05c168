"""Analysis of runs: laws, fits, intervals, comparisons, figures, tables, pages. Works on plain pandas tables.

Nothing here imports the trainer or torch. Import from the modules:

    errors      AnalysisError > DataError, TooFewRuns, NoMinimum: raised instead of a number that means nothing
    style       COLUMN, PAGE (inches), look(i), si(count), styled(), savefig(figure, stem) -> [.pdf, .svg, .png]
    plot        Plot(figure, data, caption): .save(stem) writes .pdf .svg .png .csv; .svg(); .close() frees the figure
    table       Table(columns, rows of Cell | str, caption, label): .to_csv/.to_markdown/.to_latex/.to_html, .save(stem)
                Cell(text, number=None, best=False, noise=False)
    page        Page(title, (Section(title, (Plot | Table | Text(str) | Listing(str), ...)), ...), banner, provenance)
                .render() -> str, .save(path). Self-contained, escaped, deterministic

    compare     compare(table, metric=COL, baseline=ARM or {arm: its control}, arm="arm", seed="seed",
                within=(COL, ...), lower_is_better=True, relative=False, margin=None) -> Comparison:
                one row per run (arm, seed, metric);
                .effects (Effect: difference, low, high, p, dof, verdict: Verdict), .to_frame(), .summary(), .plot(),
                .table(caption). bootstrap_seeds(differences) -> (low, high), refused below 8 seeds
    tables      comparison_table(comparison), design_table(table, metrics=[...], baseline=ARM) for tables like the
                paper's (rows arms, columns datasets, average, gain), fit_table(fit, bootstrap, published={...})
    figures.runs    learning_curves(curves: x, y, arm, seed), effects(comparison), bars(table: dataset, arm, value, low,
                high), gain_and_kept(table: x, difference, low, high, kept), gain_by_size(table: student, teacher,
                difference, low, high)
    figures.fits    loss_and_law({name: Fit}, {name: Bootstrap}, x="N"), predicted_and_measured(fit)

    answers     load_answers(workspace, record), load_items(workspace, key): what models answered to downstream tasks
    paired      accuracy_effect, bits_effect, mean_effect: paired differences over items; sign_flip (exact)
    tasks       task_blocks(workspace, record): the report's part on downstream tasks; paper.tasks_beside: the paper's

    laws        HOFFMANN, TIED, OVERTRAINING, GAMMA, KAPLAN, REPEATS, DISTILLATION, DISTILLATION_FULL, WIDTH_DEPTH,
                WIDTH_DEPTH_SIZE, power_law(column, floor=True), SumOfPowers(name, terms, source=...), ALL
    fit         fit(table, law, loss=COL, columns={"N": COL, "D": COL}, weights=, cluster=, delta=1e-3,
                fixed={}, tied=()) -> Fit: .ok/.reason, .parameters, .objective, .agreeing/.polished, .unidentified,
                .at_bound, .minima, .predict(x), .summary(), .to_frame(), .plot()
    bootstrap   bootstrap(fit, n=4000, seed=0, residual=False) -> Bootstrap: .intervals(), .errors(),
                .band(x, prediction=False), .derived(function), .to_frame(), .plot(); TooFewRuns below 2k + 2 runs
    diagnose    profile(fit, name, values), not_identified(fit), influence(fit, top)
    holdout     hold_out(points, law, mask), leave_one(points, law, groups), select(points, laws, {name: mask})
    isoflop     isoflop(table, n=, loss=, budget=, method=Method.AKIMA) -> IsoFlop; methods_disagree, parabola_bias
    frontier    exponents(table, budget=, optimal=, spread=) -> Frontier
    allocate    allocate(fit, budgets, bootstrap=, flops=six_n or TrueFlops(context, vocabulary)) -> Allocation
    scenarios   World(...): .supervised, .distilled, .best_teacher, .tokens_for; best_distilled(world, n, budget,
                Scenario.FREE | INFERENCE | PRETRAINING | BOTH), compare_scenarios, distil_or_train
    multiplier  multiplier(baseline_fit, "D", tokens, loss, at={"N": n}) -> how many times the tokens it needs to match
    cli         add_parser(subparsers), run(args): analyse fit | isoflop | allocate | compare

    figures.isoflop      isoflop_curves, allocation_curves, loss_surface, repeats_surface
    figures.diagnostics  residual_panels, profile_curves, pair_ellipses, sensitivity, small_multiples, held_out_errors
    figures.distillation student_and_teacher, u_curves, distil_or_train_map, best_teacher_map, scenario_losses,
                         scenario_allocation
"""
