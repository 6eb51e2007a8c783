"""The pipelines: thin nodes and the tables of contents that join them."""
