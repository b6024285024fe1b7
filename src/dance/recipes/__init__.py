"""Complete configurations, each with its source and what to expect; and what a command means."""

from dance.recipes.base import RECIPES, Recipe
from dance.recipes.quick import quick_settings

__all__ = ["RECIPES", "Recipe", "quick_settings"]
