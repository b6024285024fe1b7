"""Recipes: complete configurations, each with its source and its expected accuracy."""

from dance.recipes.base import RECIPES, VARIANTS, Recipe

__all__ = ["RECIPES", "VARIANTS", "Recipe"]
