"""`python -m vgpu` is the command `vgpu-autoscaler`."""

from vgpu.cli import main

main()
