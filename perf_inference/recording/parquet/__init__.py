"""A recording as tables for pandas, DuckDB, Polars, Spark: one Parquet file a topic (docs/format.md)."""
