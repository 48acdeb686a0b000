"""`lvm-fast train`: trains a model; each setting of the recipe has an option."""

from __future__ import annotations

import argparse
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from .._util.process import prepare_for_training
from ..training.recipe import Recipe, read_setting, setting, setting_names
from ..training.recipes import packaged_recipes
from ._json_output import add_json, print_json, words_aside
from ._options import path_or_name

HELP = "train a model on a chain store"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add an option for each setting of `Recipe`, and two for whole recipes."""
    names = ", ".join(packaged_recipes())
    parser.add_argument(
        "--recipe",
        type=path_or_name,
        metavar="NAME",
        help=f"a recipe to start from: {names}, or a YAML file; other options override it",
    )
    parser.add_argument("--print-config", action="store_true", help="print the resolved recipe and stop")
    add_json(parser)
    defaults = Recipe().to_dict()
    for name in setting_names():
        meaning = setting(name)[0].meaning
        default = "" if defaults[name] in (None, {}, []) else f" (default: {defaults[name]})"
        parser.add_argument(_flag(name), **_argument_form(name), default=argparse.SUPPRESS, help=meaning + default)


def run(args: argparse.Namespace) -> int:
    """Resolve the recipe and train."""
    names = [name for name in setting_names() if hasattr(args, name)]
    given = {name: read_setting(name, getattr(args, name), _flag(name)) for name in names}
    prepare_for_training()
    recipe = _recipe(args.recipe or _recipe_to_resume(given), given)
    if args.print_config:
        if args.json:
            print_json(recipe.to_dict())
        else:
            print(_commented_yaml(recipe), end="")
        return 0
    from ..training.fit import train

    with words_aside(args.json):
        result = train(recipe)
    if args.json and os.environ.get("RANK", "0") == "0":  # torchrun's
        print_json(result.to_dict())
    return 0


def _commented_yaml(recipe: Recipe) -> str:
    """Check the model, and return the recipe as YAML; comments show values that follow from others."""
    from ..data.source import is_sequence_file
    from ..data.windows import Windows
    from ..training.load_data import kind_of_windows
    from ..training.prepare_run import apply_sequence_file
    from ..training.warm_start import check_model

    for check in (apply_sequence_file, check_model):
        with suppress(FileNotFoundError):  # data and warm start need not exist yet
            check(recipe)
    largest = Windows.usual_stride(recipe.context_length)
    comments = {
        "stride: null": f"  # {kind_of_windows(recipe).usual_stride(recipe.context_length)}",
        "val_stride: null": f"  # {largest}, or less until there are 200 targets",
    }
    lines = recipe.to_yaml().splitlines()
    if is_sequence_file(recipe.data):  # its windows have no stride
        comments = {}
    return "".join(f"{line}{comments.get(line, '')}\n" for line in lines)


def _recipe(base: str | None, given: dict[str, Any]) -> Recipe:
    """Return the recipe of a name or a YAML file, if any, with the given settings on top."""
    if base is None:
        return Recipe.from_dict(given)
    is_file = Path(base).suffix in (".yaml", ".yml")
    return Recipe.from_yaml(base, **given) if is_file else Recipe.named(base, **given)


def _recipe_to_resume(given: dict[str, Any]) -> str | None:
    """Return the path of the recipe of the run to resume, if any, so that its settings need not be given again."""
    if not given.get("resume") or not given.get("output_dir"):
        return None
    from ..training.checkpoint import RECIPE

    recipe = Path(given["output_dir"], RECIPE)
    return str(recipe) if recipe.exists() else None


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _argument_form(name: str) -> dict[str, Any]:
    about, kinds = setting(name)
    if bool in kinds:
        return {"action": argparse.BooleanOptionalAction}
    if list in kinds and about.choices:
        return {"nargs": "*", "metavar": "|".join(about.choices)}
    if list in kinds:
        return {"nargs": 2, "metavar": ("LOW", "HIGH")}
    if dict in kinds:
        return {"action": _Pairs, "nargs": "+", "metavar": "KEY=VALUE"}
    value = "PATH" if about.is_path else "N" if int in kinds else "VALUE"
    only = about.choices and not about.is_path and int not in kinds
    return {"metavar": "|".join([*about.choices, *([] if only else [value])])}


class _Pairs(argparse.Action):
    """Collect ``key=value`` words into a dict, each value read as YAML; the flag may be given several times."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, _: Any = None
    ) -> None:
        from .._util.yaml12 import read_yaml

        pairs = dict(getattr(namespace, self.dest, {}))
        for word in values:
            key, _, value = word.partition("=")
            if not (key and value):
                raise argparse.ArgumentError(self, f"{word!r}; expected KEY=VALUE, such as hidden_dim=256")
            if key in pairs:
                raise argparse.ArgumentError(self, f"{key!r} is given twice")
            try:
                pairs[key] = read_yaml(value)
            except ValueError as error:
                raise argparse.ArgumentError(self, f"{word!r}: {error}") from error
        setattr(namespace, self.dest, pairs)
