"""The run directory on disk: its layout, checkpoints, pins and identities of paths. Imports no torch."""
