"""The values of a saved state as tensors: written as one segment by each rank, read by range from either format."""
