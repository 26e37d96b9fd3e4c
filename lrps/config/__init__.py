"""Config files as frozen, validated values. Imports only lrps.base, and no torch."""
