"""The config of a first run, sized for the text, the model family and the machine at hand (`lrps init`)."""
