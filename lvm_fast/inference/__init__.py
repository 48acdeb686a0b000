"""Prediction one context, or one step, at a time: packed weights, streams."""
