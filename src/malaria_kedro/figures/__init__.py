"""Figures in two styles, drawn without a display. Imports neither Kedro nor torch."""
