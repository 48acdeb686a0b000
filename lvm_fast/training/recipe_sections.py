"""The settings of a training run in sections: each setting once, with its default, its meaning and what it may be.

A part of the trainer takes the section that it reads: `load_data` a `DataSection`, a source of negatives a
`NegativesSection`. A `Recipe` is all sections at once, so it passes for any of them. Two settings decide in two places
(`objective`, `seed`) and stand in both sections.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

from .._util.settings import (
    Setting,
    cosine_range,
    count,
    names_of,
    not_negative,
    one_of,
    path_of,
    positive,
    seed_of,
    within,
)
from ..models.registry import model_names
from ..spaces import KINDS
from .negative_sources import SHARED_CANDIDATES, named_sources
from .trackers import TRACKERS

_DATA = "chain store to train on, an .npz of windows (their length is the context's), or 'sample'"
_DATA_DIGEST = "SHA-256 of the data's vectors, which training writes down; where it is given, other data is refused"
_VALIDATION_DATA = "chain store or .npz to validate on, instead of a part of the data"
_STRIDE = "vectors between training windows; half the context unless given, all of it for all_positions"
_VAL_STRIDE = "vectors between validation targets; half the context unless given, or less until there are 200 targets"
_VAL_FRACTION = Setting("share of the vectors held out, by chain", "above 0 and below 1", lambda value: 0 < value < 1)
_POOL = Setting(
    "candidates of validation: the targets, the whole validation store, or a number",
    "'targets', 'store' or at least 1",
    lambda value: value in ("targets", "store") if isinstance(value, str) else value >= 1,
    ("targets", "store"),
)
_DOMAINS = (
    "domains that the gate of a mixture of experts learns, an expert each: clusters, found in the training chains; "
    "metadata, the data's own; or a file of one domain a chain, .json, .jsonl or .csv"
)
_START_CANDIDATE = (
    "a saved model of the same type and sizes that a model which starts at a closed form may start from instead, where "
    "that is better on the validation chains; 'general' is the one that comes with the package, for data of its "
    "encoder that it has not seen"
)
_WARM_START = (
    "a run, checkpoint or saved model whose weights to begin with, and its sizes where none are given; 'general' is "
    "the one that comes with the package"
)
_SPACE = one_of(
    "what the model reads, predicts and is compared in: the encoder's vectors (raw), the same about the training mean "
    "(centred), or softly whitened too",
    *KINDS,
)
_STRENGTH = (
    "how far a whitened space goes: 1 makes all directions alike; 0.5 unless given, or for a model that starts at a "
    "closed form what validation chooses"
)
_QUERY_BANK = (
    "predictions for the training part that correct the search for hubness, as far as validation asks for it: what is "
    "near to all of them scores less; 0 for none; only models that start at a closed form have one, in a space"
)
_INFONCE_BATCH = one_of(
    "candidates of InfoNCE: micro, the targets of a forward pass, as the reference has it; effective, those of the "
    "whole optimiser step, or bank, every chunk of the training data, both without near-copies of the right one",
    "micro",
    *SHARED_CANDIDATES,
)
_UNREAD = "leave out of each prediction's shared wrong answers what its chain has said before, which cannot come next"
_NEGATIVES = (
    "where soft and hard negatives come from: target, mined around the right answers; prediction, mined around the "
    "model's own predictions; or a file, ids that `lvm-fast mine` wrote or JSON lines of vectors or ids"
)
_PRECISION = one_of(
    "float32, or bfloat16 for autocast where the device multiplies bfloat16 itself", "float32", "bfloat16"
)
_DEVICE = Setting("where to train; cuda:N is the GPU of that number", choices=("auto", "cpu", "cuda", "mps"))

Objective = Annotated[
    str,
    one_of(
        "last_position: a window predicts what follows its last vector; all_positions: what follows each, in one pass",
        "last_position",
        "all_positions",
    ),
]
Seed = Annotated[int, seed_of("seed of the split, the weights, the order and dropout")]


@dataclass
class DataSection:
    """The chains to learn from and those held out, the windows in them, and the questions of validation."""

    data: Annotated[Any, path_of(_DATA, "sample")] = "sample"
    data_digest: Annotated[str | None, Setting(_DATA_DIGEST)] = None
    validation_data: Annotated[Any, path_of(_VALIDATION_DATA, "sample")] = None
    val_fraction: Annotated[float, _VAL_FRACTION] = 0.1
    context_length: Annotated[int, count("most vectors a context holds")] = 100
    objective: Objective = "last_position"
    stride: Annotated[int | None, count(_STRIDE)] = None
    val_stride: Annotated[int | None, count(_VAL_STRIDE)] = None
    min_length: Annotated[int, count("fewest vectors of context and target together", 2)] = 7
    min_coherence: Annotated[float, within(-1, 1, "drop training windows with cos(last, target) below this")] = 0.0
    cross_chains: Annotated[bool, Setting("let training windows cross chain boundaries, as the reference did")] = False
    domains: Annotated[str | None, path_of(_DOMAINS, "clusters", "metadata")] = None
    pool: Annotated[int | str, _POOL] = "targets"
    seed: Seed = 42


@dataclass
class ModelSection:
    """The architecture, its sizes, and the weights it begins with."""

    model_type: Annotated[str, Setting("type of the model", choices=tuple(model_names()))] = "memory_gru"
    model: Annotated[dict[str, Any], Setting("sizes of the model; the reference's unless given")] = field(
        default_factory=dict
    )
    warm_start: Annotated[str | None, path_of(_WARM_START, "general")] = None
    start_candidate: Annotated[str | None, path_of(_START_CANDIDATE, "general")] = None


@dataclass
class SpaceSection:
    """The map in which the model reads, predicts and is compared."""

    space: Annotated[str, _SPACE] = "raw"
    space_strength: Annotated[float | None, within(0, 1, _STRENGTH)] = None
    query_bank: Annotated[int, not_negative(_QUERY_BANK)] = 0


@dataclass
class ObjectiveSection:
    """The loss: InfoNCE beside the distance to the right answer, and the losses of a gate."""

    objective: Objective = "last_position"
    alpha_infonce: Annotated[float, not_negative("weight of the InfoNCE loss")] = 0.05
    temperature: Annotated[float, positive("temperature of the InfoNCE loss")] = 0.07
    balance_weight: Annotated[float, not_negative("weight of the loss that shares work out among experts")] = 0.01
    domain_weight: Annotated[float, positive("weight of the loss that teaches a gate its domains")] = 0.1


@dataclass
class NegativesSection:
    """The wrong answers of InfoNCE: those that all predictions share, and those of each prediction alone."""

    infonce_batch: Annotated[str, _INFONCE_BATCH] = "micro"
    infonce_queue: Annotated[int, not_negative("targets of earlier steps that are candidates too (XBM)")] = 0
    infonce_candidates: Annotated[int, not_negative("random training chunks that are candidates of a step too")] = 0
    infonce_unread: Annotated[bool, Setting(_UNREAD)] = False
    enable_soft_negatives: Annotated[bool, Setting("give each prediction soft negatives of its own")] = False
    soft_negative_cosine_range: Annotated[list[float], cosine_range("cosines of soft negatives")] = field(
        default_factory=lambda: [0.6, 0.8]
    )
    enable_hard_negatives: Annotated[bool, Setting("give each prediction hard negatives of its own")] = False
    hard_negative_cosine_range: Annotated[list[float], cosine_range("cosines of hard negatives")] = field(
        default_factory=lambda: [0.75, 0.9]
    )
    negatives: Annotated[str, path_of(_NEGATIVES, *named_sources())] = "target"
    negatives_limit: Annotated[int, count("most negatives of a kind for a prediction")] = 8
    negatives_exclude_within: Annotated[
        int, count("mined negatives are no chunks of the target's chain up to so many places away")
    ] = 5
    negatives_refresh: Annotated[int, count("epochs between minings around predictions")] = 1
    seed: Seed = 42

    @property
    def has_hard_negatives(self) -> bool:
        """Whether predictions have negatives of their own, soft or hard ones."""
        return self.enable_soft_negatives or self.enable_hard_negatives


@dataclass
class OptimiserSection:
    """Number of steps, precision of a step, and how far it moves the weights."""

    epochs: Annotated[int, count("most passes over the data")] = 50
    batch_size: Annotated[int, count("windows a forward pass")] = 32
    accumulation_steps: Annotated[int, count("forward passes an optimiser step, of all processes together")] = 8
    lr: Annotated[float, positive("highest learning rate")] = 1e-4
    warmup_epochs: Annotated[float, not_negative("epochs of linear warm-up")] = 1.0
    lr_floor: Annotated[float, within(0, 1, "where the cosine schedule ends, as a share of lr")] = 0.1
    weight_decay: Annotated[float, not_negative("weight decay of AdamW")] = 1e-4
    clip_norm: Annotated[float, positive("largest norm of the gradient")] = 1.0
    precision: Annotated[str, _PRECISION] = "float32"
    recompute: Annotated[
        bool, Setting("keep only each GRU layer's states (CPU, CUDA), and compute its gates again going back")
    ] = False
    compile: Annotated[bool, Setting("compile model and loss with torch.compile")] = False


@dataclass
class RunSection:
    """End of the run, its device, and its files."""

    patience: Annotated[int, count("epochs without a better Hit@5 before stopping")] = 3
    min_improvement: Annotated[float, not_negative("smallest gain in Hit@5 that counts, as a fraction")] = 1e-4
    device: Annotated[str, _DEVICE] = "auto"
    output_dir: Annotated[str | None, path_of("folder of the run; a new one under runs/ unless given")] = None
    resume: Annotated[bool, Setting("continue the run in output_dir after its last epoch")] = False
    tensorboard: Annotated[bool, Setting("write TensorBoard events where it is installed")] = True
    progress: Annotated[bool, Setting("show how far the run is: a bar, or a line every 30 seconds")] = True
    trackers: Annotated[
        list[str], names_of("also send the figures to these, which have to be installed", *TRACKERS)
    ] = field(default_factory=list)


@dataclass
class StepSections(OptimiserSection, NegativesSection, ObjectiveSection):
    """The sections of one optimiser step: its loss, the wrong answers in it, and how the weights move."""
