"""Makes the metadata of a Core AI asset: every input and output, the model, its metrics, who made it with what."""

from __future__ import annotations

from collections.abc import Mapping

from ..exportable import Exportable
from ..metadata import LICENSE, describe_features, describe_package, describe_state, user_defined
from ..options import Options
from ..package import METADATA_PREFIX
from .apple import AIModelAssetMetadata, versions
from .functions import Function


def describe_asset(
    functions: Mapping[str, Function], model: Exportable, options: Options, author: str
) -> AIModelAssetMetadata:
    """Return the metadata of an asset of these functions."""
    about = AIModelAssetMetadata()
    about.author, about.license, about.model_description = author, LICENSE, describe_package(model)
    facts = user_defined(model, options, list(functions))
    facts |= {f"{name}.version": version for name, version in versions().items()}
    for name, value in facts.items():
        about.set_custom(name, value)
    features = {name: _features(function, model) for name, function in functions.items()}
    about.set_custom(f"{METADATA_PREFIX}features", features)
    return about


def _features(function: Function, model: Exportable) -> dict[str, str]:
    """Return a text for each input, output and state of a function, by name."""
    ((given, shape),) = function.input_shapes().items()
    is_context = given == "context"
    meanings = describe_features(model, given, shape[1] if is_context else None)
    features = {name: meanings[name] for name in (given, *function.outputs)}
    sizes = [str(size) for size in shape]
    if function.longest is not None:
        sizes[1] = f"1 to {function.longest}"
    features[given] = f"{features[given].format(*sizes)} Shape [{', '.join(sizes)}], float32."
    for name, state in function.states.items():
        kept, dtype = ", ".join(map(str, state.shape)), str(state.dtype).removeprefix("torch.")
        features[name] = f"{describe_state(model, name)} Shape [{kept}], {dtype}."
    return features
