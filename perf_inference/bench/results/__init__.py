"""What every benchmark does alike: samples into a file as they come, the machine beside them, progress, a report."""
