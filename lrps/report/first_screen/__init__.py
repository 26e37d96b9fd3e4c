"""The first screen of the page: sentence, four cards, ratios, two figures, what-if panel and words."""
