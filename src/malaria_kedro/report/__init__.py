"""Pages and model cards: their sections, findings and formats. Never imports Kedro."""
