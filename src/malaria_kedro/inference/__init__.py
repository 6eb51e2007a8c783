"""Reading new cells: sources, decoding, prediction, quality gate, results. Never Kedro; torch only when needed."""
