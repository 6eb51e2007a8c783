"""How things lie on disk: Kedro datasets, nothing else."""
