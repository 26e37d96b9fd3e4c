"""Charts as SVG text: axes, lines, bars, tracks, heat maps. They import nothing else of lrps."""
