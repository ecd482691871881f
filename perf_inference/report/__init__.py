"""One report for recordings and benchmarks: charts and tables in one HTML file."""
