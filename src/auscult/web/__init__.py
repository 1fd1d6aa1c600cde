"""Floor 4: the local page of `auscult serve`: see, hear and correct recordings on this machine, for nobody else."""
