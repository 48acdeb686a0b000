"""Train the model that comes with the package: the champion of all corpora whose texts allow it.

python bench/studies/general_model.py --folder runs/corpora --output lvm_fast/models/general  # some minutes

Each corpus lies in its own whitened space, so that what is learned holds for the space of chunks never seen. The space
that the model keeps is that of all of them together; `set_space(fit_space(store.vectors))` brings it home.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from corpora_study import together
from corpus_table import CORPORA
from safetensors.torch import load_file, save

import lvm_fast as lf
from lvm_fast.models.in_space import VECTORS
from lvm_fast.models.seen import save_sketch, sketch_of
from lvm_fast.models.symmetric import folded
from lvm_fast.spaces import fit_space

SAMPLE = "addresses-union"  # the sample's corpus, or the whole of it


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where the corpora are")
    parser.add_argument("--output", type=Path, required=True, help="the folder of the model")
    args = parser.parse_args()
    allowed = [corpus.name for corpus in CORPORA if corpus.trainable]
    stores = {name: lf.ChainStore.open(args.folder / f"{name}.safetensors") for name in allowed if known(args, name)}
    whole = args.folder / "sotu.safetensors"
    stores[SAMPLE] = lf.ChainStore.open(whole) if whole.exists() else lf.sample()
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "all.safetensors")
        together(stores).save(data)
        settings = {"data": str(data), "space": "raw", "min_coherence": -1.0, "val_stride": 8, "tensorboard": False}
        recipe = lf.Recipe.named("champion", **settings, output_dir=str(Path(folder, "run")))
        model = lf.train(recipe).model
    everything = np.concatenate([np.asarray(store.vectors) for store in stores.values()])
    model.set_space(fit_space(everything))
    model.config["space"]["search"] = VECTORS  # which finds more on corpora that it has not seen
    model.config["space"]["encoder"] = "sentence-transformers/all-mpnet-base-v2"
    model.metrics, model.recipe_digest = {}, None  # those of a split that nobody can repeat
    model.half().save_pretrained(args.output)
    weights = Path(args.output, "model.safetensors")
    about = {"format": "pt", "model_type": model.model_type}
    weights.write_bytes(save(folded(load_file(weights)), about))
    sketches = [sketch_of(store.vectors) for store in stores.values()]
    save_sketch(args.output, np.unique(np.concatenate(sketches)))  # by which it knows what it has seen
    print(f"{args.output}: trained on {', '.join(sorted(stores))}")


def known(args: argparse.Namespace, name: str) -> bool:
    return Path(args.folder, f"{name}.safetensors").exists()


if __name__ == "__main__":
    main()
