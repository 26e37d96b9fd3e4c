"""Charts as SVG text: axes, lines, bars, tracks, heat maps. Knows nothing of runs and imports nothing of lrps."""
