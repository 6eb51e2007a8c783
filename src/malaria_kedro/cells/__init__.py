"""The specimen: archive, unpacking, index, splits, folds, decoding, pixels, phantoms. Never imports Kedro."""
