"""The losses that training minimises: of vectors, InfoNCE, of gates."""
