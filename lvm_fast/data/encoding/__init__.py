"""Encoding chunks of text into vectors: what an encoder is, in which batches it works, what is kept on the way."""
