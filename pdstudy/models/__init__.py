"""Networks: building a student with its loss, laying it out on devices, writing it as a transformers folder.

Nothing here reads data or takes a step. The names that other packages use:

- `build_model.build_model`, `start_from`, `load_exported`, `parameter_counts`: a model with its loss;
- `flops.count`, `forward_flops`: what a student costs; `self_test.self_test`: that it is what its export will be;
- `distributed.Ranks`, `open_ranks`: the ranks of a run, and what they agree on;
- `parallelize.lay_out`, `announce_backward`, `attention.choose`: how it is computed, which never changes the result;
- `export.export`, `gguf.from_gguf`: transformers folders.

They are imported from these modules: a face that did so would load torch wherever planning counts parameters.
"""
