"""Complete configurations, each with its source and what to expect; and what a command means."""

from dance.recipes.base import RECIPES, Recipe
from dance.recipes.build import build_run
from dance.recipes.quick import QUICK

__all__ = ["QUICK", "RECIPES", "Recipe", "build_run"]
