"""Forecast of a branch's loss before it is trained, from the main path's held-out losses and earlier branches.

Numpy only, and independent of configs and run directories: points and branches in, a loss with its 90 % band out.
docs/forecast.md has the law, what it was measured on, and when not to believe it.
"""

from lrps.forecast.branch import Branch
from lrps.forecast.branch_forecast import Forecast, forecast_branch, mean_forecast
from lrps.forecast.refusal import ForecastRefused

__all__ = ["Branch", "Forecast", "ForecastRefused", "forecast_branch", "mean_forecast"]
