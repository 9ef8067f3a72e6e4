"""A Slurm cluster as a launcher: `sbatch`, `squeue`, `sacct` and `scancel`, and nothing between."""
