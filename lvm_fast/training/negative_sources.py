"""The sources of wrong answers, by name. A new source is one new file in `negatives/` and one line here."""

from __future__ import annotations

from typing import Any

from .._util.registry import Registry

_PACKAGE = f"{__package__}.negatives"
_FILE = "a file *"

# each prediction's hard negatives, by `negatives`: a name, or how the name of a file ends; classes of `HardNegatives`
HARD_NEGATIVES: Registry[Any] = Registry(
    "source of negatives",
    _PACKAGE,
    {
        "target": ".mined_negatives:AroundTargets",
        "prediction": ".mined_negatives:AroundPredictions",
        f"{_FILE}.safetensors": ".ids_file:IdsFile",
        f"{_FILE}.jsonl": ".jsonl_entries:JsonlEntries",
        f"{_FILE}.jsonl.gz": ".jsonl_entries:JsonlEntries",
    },
)
# candidates that all predictions share, by `infonce_batch`; "micro" has none; classes of `SharedCandidates`
SHARED_CANDIDATES: Registry[Any] = Registry(
    "infonce_batch", _PACKAGE, {"effective": ".shared_candidates:StepTargets", "bank": ".shared_candidates:WholeBank"}
)
# rows that join the targets of a step, by the setting that says how many
MORE_CANDIDATES: Registry[Any] = Registry(
    "source of candidates",
    _PACKAGE,
    {"infonce_queue": ".memory_queue:MemoryQueue", "infonce_candidates": ".random_chunks:RandomChunks"},
)


def named_sources() -> tuple[str, ...]:
    """Return the sources of hard negatives that are no files."""
    return tuple(name for name in HARD_NEGATIVES if not name.startswith(_FILE))


def source_of(negatives: str) -> str:
    """Return the name in `HARD_NEGATIVES` of what `Recipe.negatives` says.

    Raises:
        ValueError: There is no such source, or it reads no such file; the message suggests the nearest name.
    """
    endings = {name: name.removeprefix(_FILE) for name in HARD_NEGATIVES if name.startswith(_FILE)}
    readers = [name for name, ending in endings.items() if negatives.lower().endswith(ending)]
    return HARD_NEGATIVES.current_name(next(iter(readers), negatives))
