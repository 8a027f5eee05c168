"""Analysis of runs: laws, fits, intervals, comparisons, figures, tables, pages. Works on plain pandas tables.

Imports neither torch nor the trainer, and trains nothing. From the ground up, each package importing those above it:

    laws      scaling laws: HOFFMANN, TIED, OVERTRAINING, GAMMA, KAPLAN, FARSEER, REPEATS, DISTILLATION,
              DISTILLATION_FULL, WIDTH_DEPTH, WIDTH_DEPTH_SIZE, MOE, FINE_GRAINED, ROUTED, SPARSITY, VOCABULARY,
              PARALLEL; STEP_RATE and STEP_BATCH for optimal settings; power_law(column, floor); one's own:
              SumOfPowers(name, terms, source) or parse_law("E + A*N^-alpha + B*D^-beta"); laws_of(columns) to compare
    data      load_runs, load_evaluations, load_metrics (workspace, record); load_answers, load_items; Searched(record);
              points(table, law, ...) and column(table, name, meaning) check a user's own table
    fit       fit(table, law, loss=, columns=, weights=, cluster=, delta=, fixed=, tied=) -> Fit
              bootstrap(fit, n, seed, residual=) -> Bootstrap: intervals(), errors(), band(x), derived(function)
              hold_out, leave_one, select: prediction of unseen runs; profile, not_identified, influence: its limits
              choose_law(points, laws) -> LawChoice; judge_law(points, law, values) -> GivenLaw: published coefficients
              joint_fit(table, law) -> JointFit, distilled_fit(table, supervised) -> DistilledFit: as pages fit runs
              leave_out_outliers(fit, factor); bootstrap(..., estimates=draw_columns(...)) where LM or LT are estimates
    compare   compare(table, metric=, baseline=, within=, margin=, text=) -> Comparison: arms paired by seed; adjust:
              verdicts of several together; compare_gains(table, over=): do gains differ?; measure_noise(runs, metric);
              accuracy_effect, bits_effect, mean_effect: two models on the same items
    scaling   isoflop(table, n=, loss=, budget=, tokens=) -> IsoFlopFrontier;
              exponents(table, budget=, optimal=) -> Frontier; allocate(fit, budgets, bootstrap=) -> Allocation;
              multiplier(fit, "D", tokens, loss, at=) -> Multiplier; ComputeModel, compare_scenarios: distil or train?
              compute_optimal, crossover, best_teacher, spend, best_rates: conclusions of a study's own laws
    summary   summary(result) -> str for each of these results
    figures   functions of results that return a Plot: .save(stem) writes .pdf .svg .png .csv
    tables    functions of results that return a Table: .save(stem) writes .csv .md .tex
    report    Page(title, sections): one HTML file; build(workspace, record, out): the report of a study
    cli       `pdstudy analyse fit | allocate | isoflop | distil | transfer | exponents | compare` on a table
    errors    AnalysisError > DataError, TooFewRuns, NoMinimum: raised in place of a number that would mean nothing

In a notebook every result, Plot and Table shows itself:

    from pdstudy.analysis.figures import predicted_and_measured
    from pdstudy.analysis.fit import bootstrap, fit
    from pdstudy.analysis.laws import HOFFMANN
    from pdstudy.analysis.summary import summary

    fitted = fit(runs, HOFFMANN, columns={"N": "params", "D": "tokens"})
    print(summary(bootstrap(fitted)))
    predicted_and_measured(fitted)
"""
