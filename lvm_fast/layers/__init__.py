"""Layers: drop-ins for torch's recurrent layers that run on the kernels of `lvm_fast.ops`."""
