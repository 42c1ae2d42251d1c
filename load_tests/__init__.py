"""Side-by-side benchmark, isolation and fault runs, memory soak and traffic replay."""
