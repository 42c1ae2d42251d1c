"""What is kept: answers and labels, in a SQLite file or in PostgreSQL, through SQLAlchemy alone.

Nothing here is imported before somebody posts a label or the shadow keeps a record: it costs 25 MB.
"""
