"""What watches the service: rules, dashboards, the table of metrics; written by programs."""
