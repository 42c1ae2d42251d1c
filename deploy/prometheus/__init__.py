"""Prometheus' rules, made by ``python -m deploy.prometheus``: each measure's PromQL stands in one place."""
