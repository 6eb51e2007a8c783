"""Reading new cells: from files to calibrated calls, without Kedro."""
