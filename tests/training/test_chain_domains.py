"""The domains of a run's training chains: clusters, the data's own, or a file; and what a run does with them."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
from literal_models import SMALL

from lvm_fast.cli import main
from lvm_fast.data.chain_store import ChainStore
from lvm_fast.data.clusters import chain_means, spherical_kmeans
from lvm_fast.data.domains import DOMAINS
from lvm_fast.models.pretrained import load_model
from lvm_fast.models.registry import create_model
from lvm_fast.training.distributed import DistributedContext
from lvm_fast.training.domains import assign_domains
from lvm_fast.training.fit import train
from lvm_fast.training.load_data import load_data
from lvm_fast.training.recipe import Recipe

ALONE = DistributedContext(torch.device("cpu"))


@pytest.fixture
def experts(recipe):
    """A recipe for a mixture of five experts."""
    return lambda **changes: recipe(
        **{"model_type": "specialist_gru", "model": dict(SMALL["specialist_gru"]), **changes}
    )


def assigned(asked):
    """The domains of the recipe's training chains, and the names of the experts afterwards."""
    model = create_model("specialist_gru", **asked.model)
    return assign_domains(asked, load_data(asked), model, ALONE), model.route_names


@pytest.fixture
def labels(store):
    return {name: place % 5 for place, name in enumerate(store.ids)}


def test_clusters_are_of_the_training_chains_alone(experts):
    asked = experts(domains="clusters", seed=3)
    domains, names = assigned(asked)
    training = load_data(asked).training.store
    assert domains.chains == training.ids
    np.testing.assert_array_equal(domains.numbers, spherical_kmeans(chain_means(training), 5, 3))
    assert names == domains.names == [f"cluster {number}" for number in range(5)]
    again, _ = assigned(asked)
    np.testing.assert_array_equal(domains.numbers, again.numbers)


@pytest.mark.filterwarnings("ignore:train. .* share vectors")
def test_a_chain_without_rows_is_in_no_cluster(experts, store):
    gap = np.insert(store.offsets, 3, store.offsets[3])
    holed = ChainStore(store.vectors, gap)
    domains, _ = assigned(experts(domains="clusters", data=holed, validation_data=store))
    whole, _ = assigned(experts(domains="clusters", data=store, validation_data=store))
    np.testing.assert_array_equal(np.delete(domains.numbers, 3), whole.numbers)


@pytest.mark.parametrize("source", ["file", "metadata"])
def test_labels_go_to_their_chains(experts, store, labels, tmp_path, source):
    asked = experts(domains="metadata", data=ChainStore(store.vectors, store.offsets, store.ids, {"domains": labels}))
    if source == "file":
        (tmp_path / "d.json").write_text(json.dumps(labels))
        asked = experts(domains=str(tmp_path / "d.json"))
    domains, names = assigned(asked)
    assert domains.numbers.tolist() == [labels[name] for name in domains.chains]
    assert names == list(DOMAINS[:5])


def test_more_experts_than_names_are_numbered(experts, labels, tmp_path):
    (tmp_path / "d.json").write_text(json.dumps({**labels, "chain_0": 17}))
    asked = experts(domains=str(tmp_path / "d.json"), model={**SMALL["specialist_gru"], "num_experts": 18})
    assert assigned(asked)[1] == [*DOMAINS, "domain 16", "domain 17"]


def test_without_domains_the_gate_is_free_and_names_stay(experts):
    result = train(experts(model={**SMALL["specialist_gru"], "domains": list("abcde")}, epochs=1))
    assert result.model.route_names == list("abcde")
    assert not (result.output_dir / "domains.json").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model": {"num_experts": 40}},
            "domains = 'clusters' of 19 training chains; expected at least 40, one an exp",
        ),
        ({"domains": "metadata"}, "the data's metadata has nothing under 'domains'; expected an object of chain ids"),
        ({"domains": "d.json"}, "no domain for chain 'chain_1'"),
        ({"domains": "bad.json"}, r"bad.json: chain 'chain_0': domain = 16; expected 0 to 4"),
        ({"model_type": "gru"}, "model_type = 'gru'; expected a mixture of experts, such as 'specialist_gru', or no"),
    ],
)
def test_domains_that_cannot_be_are_told_before_anything_is_written(experts, tmp_path, monkeypatch, changes, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d.json").write_text('{"chain_0": 1}')
    (tmp_path / "bad.json").write_text('{"chain_0": 16}')
    sizes = {} if "model_type" in changes else SMALL["specialist_gru"]
    with pytest.raises(ValueError, match=message):
        train(experts(**{"domains": "clusters", **changes, "model": {**sizes, **changes.get("model", {})}}))
    assert not (tmp_path / "run").exists()


def test_metadata_of_another_form_is_told(experts, store):
    data = ChainStore(store.vectors, store.offsets, store.ids, {"domains": [1] * len(store)})
    with pytest.raises(
        ValueError, match="metadata has a list under 'domains'; expected an object of chain ids and dom"
    ):
        train(experts(domains="metadata", data=data))


def test_a_run_names_its_experts_and_leaves_domains_that_another_can_take(experts, tmp_path):
    result = train(experts(domains="clusters", epochs=1))
    log = (result.output_dir / "train.log").read_text()
    assert re.search(r"^domains, by training chains: cluster 0 \d+, cluster 1 \d+", log, re.MULTILINE)
    assert load_model(result.output_dir).route_names[4] == "cluster 4"
    left = result.output_dir / "domains.json"
    clusters, _ = assigned(experts(domains="clusters"))
    again, names = assigned(experts(domains=str(left)))
    np.testing.assert_array_equal(again.numbers, clusters.numbers)
    assert names[0] == "Science"
    free = train(experts(epochs=1, output_dir=str(tmp_path / "free")))
    assert not (free.output_dir / "domains.json").exists()


@pytest.mark.parametrize("source", ["labels.json", "clusters"])
def test_a_run_goes_on_with_the_domains_it_began_with(experts, labels, tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    first = train(experts(domains=source, epochs=1))
    kept = (first.output_dir / "domains.json").read_text()
    (tmp_path / "labels.json").unlink()
    monkeypatch.setattr("lvm_fast.training.domains.spherical_kmeans", None)
    again = train(experts(domains=source, epochs=2, patience=9, resume=True))
    assert len(again.history) == 2
    assert (again.output_dir / "domains.json").read_text() == kept
    assert again.model.route_names == first.model.route_names
    (first.output_dir / "domains.json").write_text(json.dumps({"chain_0": 1}))
    with pytest.raises(ValueError, match=r"run/domains\.json: no domain for chain 'chain_1'"):
        train(experts(domains=source, epochs=3, patience=9, resume=True))


@pytest.mark.filterwarnings("ignore:train. .* share vectors")
def test_of_given_windows_only_the_chains_of_training_windows_make_clusters(experts, store, tmp_path):
    """Windows that touch in no two chains, a chain each: those of validation are chains of their own."""
    rows = np.stack([store.vectors[first : first + 8] for first in store.offsets[:-1]])
    np.savez(tmp_path / "w.npz", context_sequences=rows[:, :7], target_vectors=rows[:, 7])
    asked = experts(data=tmp_path / "w.npz", domains="clusters", stride=None, min_coherence=-1.0)
    domains, _ = assigned(asked)
    data = load_data(asked)
    learned = np.unique(data.training.chains)
    assert len(learned) == 18
    assert len(domains.numbers) == 24
    np.testing.assert_array_equal(np.flatnonzero(domains.numbers >= 0), learned)
    np.testing.assert_array_equal(
        domains.numbers[learned], spherical_kmeans(chain_means(data.training.store)[learned], 5, asked.seed)
    )
    assert json.loads(domains.to_json()).keys() == {data.whole.ids[chain] for chain in learned}
    assert sum(map(int, re.findall(r"cluster \d+ (\d+)", domains.describe()))) == 18


def test_the_command_refuses_a_label_beyond_the_sixteen(store, tmp_path, capsys):
    store.save(tmp_path / "store.safetensors")
    rows = "".join(f"{name},{place % 17}\n" for place, name in enumerate(store.ids))
    (tmp_path / "labels.csv").write_text("id,domain\n" + rows)
    words = ["--recipe", "phase4", "--data", tmp_path / "store.safetensors", "--domains", tmp_path / "labels.csv"]
    assert main(["train", *map(str, words), "--output-dir", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert re.fullmatch(
        r"lvm-fast: error: .*labels.csv: line 18: chain 'chain_16': domain = '16'; .* 0 to 15.*\n", error
    )
    assert not (tmp_path / "run").exists()


def test_a_source_that_is_none_is_told_with_the_recipe():
    with pytest.raises(ValueError, match="unknown source of domains 'cluster'; did you mean 'clusters'"):
        Recipe(domains="cluster")
