"""The pipelines: thin nodes, and pipeline files that read as tables of contents."""
