"""Wrong answers for InfoNCE: what a step's predictions share, and what each has of its own. One file a source."""

from __future__ import annotations

from ..._util.did_you_mean import unknown_name

# sources of a prediction's own wrong answers: a name, or how the name of a file ends; each is module:class
OWN = {"target": "around_targets:AroundTargets", "prediction": "around_predictions:AroundPredictions"}
OWN_FILES = {
    ".safetensors": "ids_file:IdsFile",
    ".jsonl": "lines_file:LinesFile",
    ".jsonl.gz": "lines_file:LinesFile",
}
# sources of candidates that all predictions share, by `infonce_batch`
SHARED = {"effective": "step_targets:StepTargets", "bank": "whole_bank:WholeBank"}
# what may join the targets of a step, by the setting that says how many
MORE = {"infonce_queue": "memory_queue:MemoryQueue", "infonce_candidates": "random_chunks:RandomChunks"}


def own_source(name: str) -> str:
    """Return the class behind `Recipe.negatives`. Raises ValueError, which suggests the nearest name, where none is."""
    by_suffix = [place for suffix, place in OWN_FILES.items() if name.lower().endswith(suffix)]
    if name not in OWN and not by_suffix:
        raise ValueError(unknown_name("source of negatives", name, [*OWN, *(f"a file *{end}" for end in OWN_FILES)]))
    return OWN.get(name) or by_suffix[0]
