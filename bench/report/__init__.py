"""What is made of the measurements: a table and a chart for each workload."""
