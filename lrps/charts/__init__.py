"""Charts as SVG text: axes, lines, bars, timelines and heat maps. Imports nothing else of lrps."""
