"""The specimen: names and patients, archive, index, splits, pixels, phantoms. Imports neither Kedro nor torch."""
