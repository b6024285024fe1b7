"""Recipes: complete configurations, each with its source and its expected accuracy."""

from dance.recipes.base import RECIPES, Recipe
from dance.recipes.quick import quick_settings

__all__ = ["RECIPES", "Recipe", "quick_settings"]
