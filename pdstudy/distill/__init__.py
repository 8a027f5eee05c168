"""From a teacher's logits to a student's gradient: truncation, temperature, losses, the logit store, teacher inference.

Nothing here trains or builds a model, and nothing schedules work. The names that other packages use:

- `signal.SparseTargets`, `truncate.cut`, `micro_batch.MicroBatch`: what a step knows of the teacher;
- `head`: logits as a function of last hidden states, weight, bias, scale and soft cap;
- `loss.fused.fused_loss`: loss and gradients of the output head, chunk by chunk;
- `store.store.open_store`, `StoreReader`, `StoreWriter`: distributions on disk;
- `teacher.capture.capture`, `teacher.live.LiveTeacher`: the teacher run beforehand, or inside the step.

They are imported from these modules: a face that did so would load torch wherever a store's manifest is read.
"""
