"""What watches the service: Prometheus' rules, Grafana's dashboards, the table of metrics; written by programs."""
