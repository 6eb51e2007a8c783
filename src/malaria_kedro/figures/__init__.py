"""The figures, in one style and without a display. Imports neither Kedro nor torch."""
