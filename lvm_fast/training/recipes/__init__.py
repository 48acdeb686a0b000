"""The recipes that come with the package, each a YAML file of settings; what one leaves out is the default."""

from __future__ import annotations

from pathlib import Path

from ..._util.did_you_mean import unknown_name


def packaged_recipes() -> dict[str, Path]:
    """Return the recipes there are: name and file, in order."""
    return {path.stem: path for path in sorted(Path(__file__).parent.glob("*.yaml"))}


def packaged_recipe(name: str) -> Path:
    """Return the file of a recipe. Raises ValueError, which suggests the nearest name, where there is none."""
    recipes = packaged_recipes()
    if name not in recipes:
        raise ValueError(unknown_name("recipe", name, recipes))
    return recipes[name]
