"""What is kept: answers, labels and evidence, in a SQLite file or in PostgreSQL, through SQLAlchemy alone.

Nothing here is imported before somebody posts a label or the shadow keeps something: it costs 25 MB.
"""
