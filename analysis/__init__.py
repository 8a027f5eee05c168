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

    laws        HOFFMANN, TIED, OVERTRAINING, ..., power_law(column, floor=True), SumOfPowers(name, terms, source=...)
    fit         fit(table, law, loss=COL, columns={"N": COL, "D": COL}, weights=, cluster=, delta=1e-3,
                fixed={}, tied=()) -> Fit: .parameters, .objective, .agreeing/.polished, .predict(x),
                .summary(), .to_frame(), .plot()
    bootstrap   bootstrap(fit, n=4000, seed=0) -> Bootstrap: .intervals(), .errors(), .band(x, prediction=False),
                .derived(function); TooFewRuns below 2k + 2 runs
"""
