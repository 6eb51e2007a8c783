"""What the predictions are worth: metrics, intervals, patients, folds, label noise. Imports neither Kedro nor torch."""
