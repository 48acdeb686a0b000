"""Latent vector models: one file per architecture, one registry."""
