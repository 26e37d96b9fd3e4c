"""Forecasts of versions before they are trained: losses by the law of lrps.forecast, costs by the plan."""
