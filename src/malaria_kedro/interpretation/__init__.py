"""What a network learnt: metrics, figures, comparison, report. Imports neither Kedro nor torch."""
