"""Tables of the user's own: CSV, TSV, JSON, JSON lines and Parquet, read by DuckDB under lock and key."""
