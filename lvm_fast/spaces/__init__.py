"""What vectors are compared in: as the encoder gives them, centred, or whitened."""

from .space import KINDS, Moments, Space, fit_space, moments_of, space_of

__all__ = ["KINDS", "Moments", "Space", "fit_space", "moments_of", "space_of"]
