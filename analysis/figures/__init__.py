"""Figures. Each function takes plain tables or results and returns a `Plot` (figure, plotted numbers, caption)."""
