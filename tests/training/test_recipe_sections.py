"""The sections of a recipe: each setting once, and each part of the trainer takes its section alone."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from lvm_fast.data.windows import Windows
from lvm_fast.models.registry import create_model
from lvm_fast.training import recipe_sections
from lvm_fast.training.learner import Learner
from lvm_fast.training.load_data import TrainingData, load_data
from lvm_fast.training.negatives.hard_negatives import hard_negatives
from lvm_fast.training.negatives.shared_candidates import StepTargets, shared_candidates
from lvm_fast.training.recipe import Recipe, setting_names
from lvm_fast.training.recipe_sections import DataSection, NegativesSection, StepSections

SECTIONS = [
    getattr(recipe_sections, f"{name}Section")
    for name in ("Data", "Model", "Space", "Objective", "Negatives", "Optimiser", "Run")
]
IN_TWO = {"objective", "seed"}


def names_of(section):
    return [field.name for field in dataclasses.fields(section)]


def default_of(field):
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def test_the_sections_are_the_whole_recipe_and_a_setting_is_in_one_of_them():
    names = [name for section in SECTIONS for name in names_of(section)]
    assert set(names) == set(setting_names())
    assert {name for name in names if names.count(name) > 1} == IN_TWO


@pytest.mark.parametrize("section", SECTIONS)
def test_a_section_has_the_defaults_of_the_recipe_and_the_recipe_passes_for_it(section):
    recipe = Recipe()
    assert isinstance(recipe, section)
    assert {field.name: default_of(field) for field in dataclasses.fields(section)} == {
        name: getattr(recipe, name) for name in names_of(section)
    }


def test_data_is_loaded_from_its_section_alone(store):
    alone = load_data(DataSection(data=store, context_length=8, stride=3, val_fraction=0.25, seed=3))
    whole = load_data(Recipe(data=store, context_length=8, stride=3, val_fraction=0.25, seed=3))
    np.testing.assert_array_equal(alone.training.targets, whole.training.targets)
    np.testing.assert_array_equal(alone.validation.targets, whole.validation.targets)
    assert alone.digest == whole.digest


def test_negatives_come_from_their_section_alone(store):
    windows = Windows(store, context_length=8, stride=3)
    section = NegativesSection(enable_hard_negatives=True, negatives="prediction", negatives_limit=2)
    negatives = hard_negatives(section, TrainingData(windows, windows, store))
    assert negatives.tables["hard"].shape == (len(store.vectors), 2)
    effective = shared_candidates(NegativesSection(infonce_batch="effective"), torch.device("cpu"), torch.float32)
    assert isinstance(effective, StepTargets)


def test_a_step_takes_its_sections_alone_and_is_that_of_the_recipe(store):
    windows, steps = Windows(store, context_length=8, stride=3), []
    for kind in (StepSections, Recipe):
        torch.manual_seed(3)
        model = create_model("memory_gru", input_dim=16, hidden_dim=12, num_layers=2, memory_slots=8, dropout=0.0)
        settings = kind(batch_size=8, alpha_infonce=0.5, infonce_batch="effective", weight_decay=0.1)
        steps.append(Learner(model, settings, torch.device("cpu")).step(windows, np.arange(16), 1e-3))
    assert steps[0] == steps[1]
